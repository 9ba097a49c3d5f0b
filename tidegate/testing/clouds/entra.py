"""Entra's token endpoint for workload identities, and Azure's instance metadata for managed ones.

Formats: OAuth 2.0 client credentials with a federated credential (identity platform v2.0), and the instance metadata
service's `identity/oauth2/token`, 2018-02-01.
"""

import time
from http import HTTPStatus
from typing import Final

from tidegate.testing.clouds.service import TokenService, Took
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.wire import Reply

ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
IMDS: Final = "/metadata/identity/oauth2/token"
RESOURCE: Final = "https://containerregistry.azure.net"


class EntraDouble(TokenService):
    """One application, whose projected token is `assertion`, and the identity of one machine."""

    tenant = "11111111-aaaa"
    client = "22222222-bbbb"
    assertion = "kubernetes-projected-token"
    lives_s = 3600

    @property
    def path(self) -> str:
        """The token endpoint."""
        return f"/{self.tenant}/oauth2/v2.0/token"

    def answer(self, took: Took) -> Reply:
        """A token, or what is wrong with the request."""
        if took.path == IMDS and took.method == "GET":
            return self._managed(took)
        if took.path != self.path or took.method != "POST":
            return json_reply({"error": "invalid_request"}, status=HTTPStatus.NOT_FOUND)
        form = took.form
        wanted = {
            "grant_type": "client_credentials", "client_id": self.client, "scope": f"{RESOURCE}/.default",
            "client_assertion_type": ASSERTION, "client_assertion": self.assertion,
        }  # fmt: skip
        wrong = [name for name, value in wanted.items() if form.get(name) != value]
        if wrong:
            answer = {"error": "invalid_client", "error_description": f"AADSTS700000: {', '.join(wrong)}"}
            return json_reply(answer, status=HTTPStatus.UNAUTHORIZED)
        return json_reply(
            {
                "token_type": "Bearer", "expires_in": self.lives_s, "ext_expires_in": self.lives_s,
                "access_token": self.secret("entra"),
            }
        )  # fmt: skip

    def _managed(self, took: Took) -> Reply:
        if took.headers.get("metadata") != "true" or took.query.get("resource") != RESOURCE:
            return json_reply({"error": "invalid_request"}, status=HTTPStatus.BAD_REQUEST)
        if took.query.get("client_id", self.client) != self.client:
            answer = {"error": "invalid_request", "error_description": "Identity not found"}
            return json_reply(answer, status=HTTPStatus.BAD_REQUEST)
        return json_reply(
            {
                "access_token": self.secret("entra"), "client_id": self.client, "expires_in": f"{self.lives_s}",
                "expires_on": f"{int(time.time()) + self.lives_s}", "resource": RESOURCE, "token_type": "Bearer",
            }
        )  # fmt: skip
