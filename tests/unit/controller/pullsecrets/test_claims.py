"""What counts of a TokenReview: the audience, the ServiceAccount, the Pod and the Node that the token is bound to."""

from typing import Any

import msgspec
import pytest

from controller.pullsecrets.claims import Asker, NoAgent, NoToken, TokenReview, asker_of

AGENTS = "system:serviceaccount:tidegate:tidegate-agent"
CLAIMS = {
    "authentication.kubernetes.io/node-name": ["node-1"],
    "authentication.kubernetes.io/node-uid": ["uid-1"],
    "authentication.kubernetes.io/pod-name": ["agent-x"],
    "authentication.kubernetes.io/pod-uid": ["uid-of-agent-x"],
    "authentication.kubernetes.io/credential-id": ["JTI=1"],
}


def review(username: str = AGENTS, claims: dict[str, Any] | None = None, **status: Any) -> TokenReview:
    user = {"username": username, "uid": "u", "groups": ["system:serviceaccounts"], "extra": claims or CLAIMS}
    body = {
        "spec": {"token": "a.secret.token", "audiences": ["tidegate.dev/pull-secrets"]},
        "status": {"authenticated": True, "audiences": ["tidegate.dev/pull-secrets"], "user": user, **status},
    }
    return msgspec.json.decode(msgspec.json.encode(body), type=TokenReview)


def without(claim: str) -> dict[str, Any]:
    return {name: values for name, values in CLAIMS.items() if not name.endswith(claim)}


def test_an_agents_token() -> None:
    assert asker_of(review(), user=AGENTS) == Asker(node="node-1", node_uid="uid-1", pod="agent-x")
    assert "a.secret.token" not in repr(review())


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"authenticated": False}, id="unknown"),
        pytest.param({"audiences": ["https://kubernetes.default.svc"]}, id="for-the-api-server"),
        pytest.param({"audiences": []}, id="a-server-that-knows-no-audiences"),
    ],
)
def test_a_token_that_does_not_count(status: dict[str, Any]) -> None:
    with pytest.raises(NoToken):
        asker_of(review(**status), user=AGENTS)


@pytest.mark.parametrize(
    "username, claims",
    [
        pytest.param("system:serviceaccount:tidegate:tidegate-webhook", CLAIMS, id="another-account"),
        pytest.param("system:serviceaccount:team-a:tidegate-agent", CLAIMS, id="another-namespace"),
        pytest.param("ada", CLAIMS, id="a-person"),
        pytest.param(AGENTS, without("node-name"), id="no-node"),
        pytest.param(AGENTS, without("node-uid"), id="no-uid-of-the-node"),
        pytest.param(AGENTS, without("pod-name"), id="no-pod"),
        pytest.param(AGENTS, {**CLAIMS, "authentication.kubernetes.io/node-name": ["a", "b"]}, id="two-nodes"),
        pytest.param(AGENTS, {**CLAIMS, "authentication.kubernetes.io/node-name": [""]}, id="an-empty-name"),
    ],
)
def test_whose_token_is_no_agents(username: str, claims: dict[str, Any]) -> None:
    with pytest.raises(NoAgent):
        asker_of(review(username, claims), user=AGENTS)
