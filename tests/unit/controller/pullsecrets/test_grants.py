"""Which grants are live, to the second and to the letter."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from controller.pullsecrets.grants import has_live_grant
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, NodePull, NodePullSpec, NodePullStatus, Phase

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
IMAGE = "registry.test/app:1"
UID = "uid-1"


def expiring(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def nodepull(
    *, expires: str = expiring(60), seconds: float = 60.0, phase: Phase | None = None, **more: Any
) -> NodePull:
    grant = Grant(id="g2", expires_at=expires, seconds=seconds)
    images = [NodeImage(image="registry.test/other:1"), NodeImage(image=IMAGE, grant=grant)]
    said = [] if phase is None else [NodeImageStatus(image=IMAGE, phase=phase, grant=more.get("grant", "g2"))]
    status = NodePullStatus(node_uid=more.get("said_by", UID), images=said)
    return NodePull(spec=NodePullSpec(node_uid=UID, images=images), status=status)


@pytest.mark.parametrize(
    "changes, live",
    [
        pytest.param({}, True, id="fresh"),
        pytest.param({"phase": Phase.PENDING}, True, id="not-begun"),
        pytest.param({"phase": Phase.PULLING}, True, id="being-pulled"),
        pytest.param({"phase": Phase.PRESENT}, False, id="answered"),
        pytest.param({"phase": Phase.FAILED}, False, id="failed"),
        pytest.param({"phase": Phase.SKIPPED}, False, id="skipped"),
        pytest.param({"phase": Phase.FAILED, "grant": "g1"}, True, id="the-one-before-failed"),
        pytest.param({"phase": Phase.FAILED, "said_by": "uid-0"}, True, id="answered-by-a-former-node"),
        pytest.param({"expires": expiring(-59)}, True, id="begun-in-time"),
        pytest.param({"expires": expiring(-60)}, False, id="its-seconds-are-over"),
        pytest.param({"expires": expiring(-86_401), "seconds": 1e9}, False, id="no-pull-takes-longer-than-a-day"),
        pytest.param({"seconds": 0.0}, False, id="no-seconds"),
        pytest.param({"seconds": float("inf")}, False, id="for-ever"),
        pytest.param({"seconds": float("nan")}, False, id="no-number"),
        pytest.param({"expires": "tomorrow"}, False, id="no-time"),
        pytest.param({"expires": "2026-11-25T13:00:00"}, False, id="no-offset"),
        pytest.param({"expires": "9999-12-31T23:59:59+00:00"}, False, id="past-the-calendar"),
    ],
)
def test_a_grant_lives_until_it_is_answered_or_over(changes: dict[str, Any], live: object) -> None:
    assert has_live_grant(nodepull(**changes), IMAGE, node_uid=UID, now=NOW) is live


@pytest.mark.parametrize(
    "image, uid",
    [
        pytest.param("registry.test/other:1", UID, id="wanted-and-not-granted"),
        pytest.param("registry.test/app", UID, id="another-spelling"),
        pytest.param("registry.test/app:2", UID, id="another-image"),
        pytest.param(IMAGE, "uid-0", id="a-former-node"),
        pytest.param(IMAGE, "", id="a-token-without-a-node"),
    ],
)
def test_it_is_for_one_image_of_one_node(image: str, uid: str) -> None:
    assert not has_live_grant(nodepull(), image, node_uid=uid, now=NOW)


def test_there_may_be_no_nodepull_or_one_of_no_node() -> None:
    assert not has_live_grant(None, IMAGE, node_uid=UID, now=NOW)
    plan = nodepull()
    nameless = msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, node_uid=""))
    assert not has_live_grant(nameless, IMAGE, node_uid="", now=NOW)
