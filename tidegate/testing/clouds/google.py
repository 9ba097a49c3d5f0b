"""Google's metadata server, its token endpoint for keys of service accounts, and its security token service.

Formats: Compute Engine metadata v1; OAuth 2.0 for server applications (RFC 7523); STS v1 (RFC 8693).
"""

import time
from http import HTTPStatus
from typing import Final

from tidegate.testing.clouds.service import TokenService, Took
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.wire import Reply

ACCOUNT: Final = "/computeMetadata/v1/instance/service-accounts/default"
EMAIL: Final = "gate@project.iam.gserviceaccount.com"
KEY: Final = "/token"
STS: Final = "/v1/token"
_GRANTS: Final = {
    KEY: ("urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion"),
    STS: ("urn:ietf:params:oauth:grant-type:token-exchange", "subject_token"),
}


class GoogleDouble(TokenService):
    """One identity."""

    lives_s = 3599

    def answer(self, took: Took) -> Reply:
        """A token, what the metadata server says of the identity, or an error."""
        if took.path.startswith(ACCOUNT):
            reply = self._metadata(took)
            reply.headers["Metadata-Flavor"] = "Google"
            return reply
        grant, proof = _GRANTS.get(took.path, ("", ""))
        if not grant or took.form.get("grant_type") != grant or not took.form.get(proof):
            return json_reply({"error": "invalid_grant"}, status=HTTPStatus.BAD_REQUEST)
        return json_reply(self._token() | {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})

    def _metadata(self, took: Took) -> Reply:
        if took.headers.get("metadata-flavor") != "Google":
            return Reply(status=HTTPStatus.FORBIDDEN)
        if took.path == f"{ACCOUNT}/token":
            return json_reply(self._token())
        if took.path.rstrip("/") == ACCOUNT:
            return json_reply({"aliases": ["default"], "email": EMAIL, "scopes": ["scope-of-the-pool"]})
        return Reply(status=HTTPStatus.NOT_FOUND)

    def _token(self) -> dict[str, str | int]:
        return {
            "access_token": self.secret("google"), "expires_in": self.lives_s, "token_type": "Bearer",
            "issued_at": int(time.time()),
        }  # fmt: skip
