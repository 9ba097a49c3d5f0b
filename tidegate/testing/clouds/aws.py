"""ECR's GetAuthorizationToken, and the agent that gives Pods their AWS credentials.

Formats: Amazon ECR API reference (AWS JSON 1.1); EKS Pod Identity, as the container credentials of AWS's SDKs;
Signature Version 4, checked here step by step as it is documented.
"""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from tidegate.testing.clouds.service import TokenService, Took
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.wire import Reply

TARGET: Final = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
AGENT: Final = "/v1/credentials"


class AwsDouble(TokenService):
    """One role."""

    access_key = "AKIDEXAMPLE"
    secret_key = "made-up/secret+key"  # noqa: S105
    session_token = "made-up-session-token"  # noqa: S105
    agent_token = "projected-token-of-the-pod"  # noqa: S105
    lives_s = 12 * 3600.0

    def answer(self, took: Took) -> Reply:
        """A password, the role's credentials, or an error as AWS names it."""
        if took.path == AGENT:
            return self._agent(took)
        if took.headers.get("x-amz-target") != TARGET:
            return json_reply({"__type": "UnknownOperationException"}, status=HTTPStatus.BAD_REQUEST)
        if self._signature(took) is None:
            return json_reply({"__type": "InvalidSignatureException"}, status=HTTPStatus.BAD_REQUEST)
        password = self.secret("ecr")
        datum = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": time.time() + self.lives_s,
            "proxyEndpoint": "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        }
        return json_reply({"authorizationData": [datum]})

    def _agent(self, took: Took) -> Reply:
        if took.headers.get("authorization") != self.agent_token:
            return json_reply({"message": "no"}, status=HTTPStatus.UNAUTHORIZED)
        expires = datetime.now(UTC) + timedelta(hours=6)
        return json_reply(
            {
                "AccessKeyId": self.access_key, "SecretAccessKey": self.secret_key, "Token": self.session_token,
                "AccountId": "123456789012", "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )  # fmt: skip

    def _signature(self, took: Took) -> str | None:
        """The region that a request is rightly signed for; none for a wrong signature."""
        scheme, _, rest = took.headers.get("authorization", "").partition(" ")
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        key, _, scope = parts.get("Credential", "").partition("/")
        if scheme != "AWS4-HMAC-SHA256" or key != self.access_key:
            return None
        signed = parts["SignedHeaders"].split(";")
        canonical = "\n".join(
            (took.method, took.path, "", *(f"{name}:{' '.join(took.headers[name].split())}" for name in signed), "",
             ";".join(signed), hashlib.sha256(took.body).hexdigest())
        )  # fmt: skip
        text = "\n".join((scheme, took.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()))
        secret = b"AWS4" + self.secret_key.encode()
        for step in scope.split("/"):
            secret = hmac.digest(secret, step.encode(), "sha256")
        right = hmac.digest(secret, text.encode(), "sha256").hex()
        return scope.split("/")[1] if hmac.compare_digest(right, parts["Signature"]) else None
