"""What an author may write, and what follows from it: nothing that lets an image in which nobody has seen."""

from typing import Any

import pytest

from tidegate.findings import Finding, Verdict
from tidegate.policy import Policy, Settings

DIGEST = "sha256:" + "a" * 64
WEB = f"r.example/web@{DIGEST}"
NEW = f"r.example/new@{DIGEST}"
KEY = "tidegate.dev/decision"


def owned_by(api_version: str) -> dict[str, Any]:
    return {"ownerReferences": [{"apiVersion": api_version, "kind": "DaemonSet", "name": "d", "controller": True}]}


BUILT_IN, ADVANCED = owned_by("apps/v1"), owned_by("apps.kruise.io/v1alpha1")
DAEMONS = "system:serviceaccount:kube-system:daemon-set-controller"


@pytest.mark.parametrize("finding", ["absent", "mismatch"])
@pytest.mark.parametrize(
    "metadata, who, believed",
    [
        pytest.param(BUILT_IN, DAEMONS, True, id="its controller's"),
        pytest.param(BUILT_IN, "system:kube-controller-manager", True, id="of one account for all controllers"),
        pytest.param(BUILT_IN, "dev", False, id="an author's word"),
        pytest.param(BUILT_IN, "system:serviceaccount:deploy:deploy", False, id="a deployer's"),
        pytest.param(BUILT_IN, "system:serviceaccount:shop:daemon-set-controller", False, id="the namespace's own"),
        pytest.param(ADVANCED, "system:serviceaccount:kruise-system:kruise-manager", True, id="another kind's"),
        pytest.param(ADVANCED, "system:serviceaccount:shop:kruise-manager", False, id="another kind's, its own"),
        pytest.param(ADVANCED, "dev", False, id="another kind's, an author's word"),
        pytest.param({}, DAEMONS, False, id="without an owner"),
    ],
)
async def test_only_its_controller_makes_a_daemonsets_pod(
    in_cluster: Any, make: Any, metadata: dict[str, Any], *, who: str, believed: bool, finding: str
) -> None:
    in_cluster.checker.replica["web"] = Finding(finding)
    by, pod = {"userInfo": {"username": who}}, make.pod(WEB, metadata=metadata)
    after = make.patched(pod, make.patch_of(await in_cluster.judge(make.review(pod, **by), "/mutate")))
    assert ("schedulingGates" in after["spec"]) is (finding == "absent" and not believed)
    allowed, verdict, _ = (await in_cluster.judge(make.review(pod, **by))).said
    assert (allowed, verdict == "warn") == (believed, believed)
    assert (in_cluster.checker.asked[-1][1] > 5.0) is believed, "what cannot wait has the whole call"


async def test_what_an_ephemeral_container_brought_is_new_to_the_others(webhook: Any, make: Any) -> None:
    """It was let in whatever was found: that must not be the way to the containers that last."""
    webhook.checker.replica["new"] = Finding.ABSENT
    debugged = make.pod(WEB, ephemeralContainers=[{"image": NEW}])
    swapped = make.pod(NEW, ephemeralContainers=[{"image": NEW}])
    answer = await webhook.judge(make.review(swapped, operation="UPDATE", old=debugged))
    assert answer.said == (False, "deny", "absent")
    for new, old in ((debugged, debugged), (make.pod(WEB, ephemeralContainers=[{"image": WEB}]), make.pod(WEB))):
        review = make.review(new, operation="UPDATE", old=old, subResource="ephemeralcontainers")
        assert (await webhook.judge(review)).said == (True, "allow", "unchanged")


@pytest.mark.parametrize(
    "settings, spec",
    [
        pytest.param(Settings(), {"nodeName": "n"}, id="which cannot wait"),
        pytest.param(Settings(verdicts={Finding.DEADLINE: Verdict.WARN}), {}, id="where policy lets it pass"),
    ],
)
async def test_that_nobody_waited_is_no_decision(in_cluster: Any, make: Any, settings: Any, spec: Any) -> None:
    """Whoever reaches the webhook may ask `/mutate` with a timeout of his own."""
    in_cluster.use(Policy(base=settings))
    in_cluster.checker.replica["web"] = Finding.DEADLINE
    pod = make.pod(WEB, **spec)
    answer = await in_cluster.judge(make.review(pod), "/mutate", query="timeout=1ms")
    after = make.patched(pod, make.patch_of(answer))
    in_cluster.checker.replica["web"] = Finding.ABSENT
    assert (await in_cluster.judge(make.review(after))).said[::2] == (False, "absent")
    assert KEY not in after["metadata"].get("annotations", {})
