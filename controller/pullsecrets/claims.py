"""Who asks: a token of an audience of its own, which the API server reviews. Only what it says of the token counts.

A token that is bound to a Pod names the Pod and its Node, by name and UID, and is worth nothing once the Pod is gone.
Sources: k8s.io/api authentication/v1 TokenReview; the claims' keys: k8s.io/apiserver serviceaccount util.go.
"""

from dataclasses import dataclass

import msgspec

from tidegate.kube.client import KubeClient
from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Metadata

AUDIENCE = "tidegate.dev/pull-secrets"
REVIEW_S = 3.0
MOST_TOKEN = 16 << 10
_PREFIX = "authentication.kubernetes.io/"


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    audiences: list[str] = []
    user: _User = _User()


class TokenReview(msgspec.Struct, frozen=True):
    """As much of it as counts; the token that comes back in its spec is left out."""

    metadata: Metadata = Metadata()
    status: _Status = _Status()


TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False, TokenReview)


@dataclass(frozen=True, slots=True)
class Asker:
    """An agent, as the API server knows it."""

    node: str
    node_uid: str
    pod: str


class NoToken(Exception):
    """The API server does not know the token, or not for this audience."""


class NoAgent(Exception):
    """It is somebody's token, and not that of an agent's Pod on a node."""


class Reviews:
    """`user`: the agents' ServiceAccount, `system:serviceaccount:NAMESPACE:NAME`. `client` may write outside a lead."""

    def __init__(self, client: KubeClient, *, user: str) -> None:
        self._client = client
        self._user = user

    async def asker(self, token: str) -> Asker:
        """Raises NoToken, NoAgent, or KubeError when the API server cannot say."""
        spec = {"token": token, "audiences": [AUDIENCE]}
        review = await self._client.create(TOKEN_REVIEWS, {"spec": spec}, timeout_s=REVIEW_S)
        return asker_of(review, user=self._user)


def asker_of(review: TokenReview, *, user: str) -> Asker:
    """What a review says. Raises NoToken or NoAgent."""
    status = review.status
    if not status.authenticated or AUDIENCE not in status.audiences:
        raise NoToken
    claims = {name: status.user.extra.get(_PREFIX + name, []) for name in ("node-name", "node-uid", "pod-name")}
    if status.user.username != user or not all(len(values) == 1 and values[0] for values in claims.values()):
        raise NoAgent
    return Asker(node=claims["node-name"][0], node_uid=claims["node-uid"][0], pod=claims["pod-name"][0])
