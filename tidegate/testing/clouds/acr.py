"""ACR's token endpoints: `/oauth2/exchange` and `/oauth2/token` (Azure/acr, docs/AAD-OAuth.md)."""

import base64
import json
import secrets
import ssl
import time
from collections.abc import Container, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web

from tidegate.testing.registry.records import Request
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.tokens import MAX_FORM, Account, Claims, TokenRules, TokenServer
from tidegate.testing.registry.wire import Reply, send

_REFRESH_S: Final = 3 * 3600
_ACCESS_S: Final = 75 * 60
_WHO: Final = "identity"


class AcrTokens(TokenServer):
    """Gives a refresh token for any Entra token in `entra`, and access tokens for refresh tokens.

    `switch()` is what a change to ABAC does: all that was given before is refused.
    """

    def __init__(
        self, entra: Container[str], *, account: Account | None = None, host: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None, jwt: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            {_WHO: account or Account(password=secrets.token_hex())}, anonymous=None, mint=self._mint_access,
            rules=TokenRules(expires_in=None, lives_s=_ACCESS_S, fields=("access_token",)), host=host,
            ssl_context=ssl_context,
        )  # fmt: skip
        self._entra = entra
        self._jwt = jwt
        self.made: list[str] = []
        self.exchanges: list[dict[str, str]] = []
        """The forms that came to be exchanged."""
        self.lies: dict[str, Reply] = {}
        """By path, in place of the truth."""

    @property
    def realm(self) -> str:
        """Where challenges send their readers."""
        return f"{self.url}/oauth2/token"

    def switch(self) -> None:
        """Everything given so far is invalid."""
        self.revoke()
        self._refresh.clear()

    async def _handle(self, request: web.BaseRequest, seen: Request) -> web.StreamResponse:
        form = parse_qs((await request.content.read(MAX_FORM)).decode("utf-8", "replace"))
        return await send(request, seen, self.lies.get(request.path) or self._acr(request, form))

    def _acr(self, request: web.BaseRequest, form: Mapping[str, list[str]]) -> Reply:
        flat = {name: values[0] for name, values in form.items()}
        match request.method, request.path:
            case "POST", "/oauth2/exchange":
                self.exchanges.append(flat)
                if flat.get("grant_type") != "access_token" or flat.get("access_token") not in self._entra:
                    return _refused()
                refresh = self._made("refresh", _REFRESH_S)
                self._refresh[refresh] = _WHO
                return json_reply({"refresh_token": refresh})
            case "POST", "/oauth2/token":
                ask = self._ask_post(form)
                if flat.get("grant_type") != "refresh_token" or ask.account is None:
                    return _refused()
                return json_reply(self._grant(ask, ask.account, fields=("access_token",)))
            case _:
                return json_reply({}, status=HTTPStatus.NOT_FOUND)

    def _mint_access(self, claims: Claims) -> str:
        return self._made("access", int(claims.lives_s))

    def _made(self, kind: str, lives_s: int) -> str:
        unique = f"{kind}-{secrets.token_urlsafe(18)}"
        now = int(time.time())
        parts = ({"alg": "none"}, {"jti": unique, "iat": now, "exp": now + lives_s})
        texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        token = ".".join((*texts, unique)) if self._jwt else unique
        self.made.append(token)
        return token


def _refused() -> Reply:
    answer = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    return json_reply(answer, status=HTTPStatus.UNAUTHORIZED)
