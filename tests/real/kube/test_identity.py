"""Two agents of one ServiceAccount on kube-apiserver: what the token of each lets it write, and be told.

The controller is the shipped program with its own ServiceAccount and the shipped roles.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.kube.agents import (
    AUDIENCE,
    CHECKOUT,
    FORBIDDEN,
    IMAGE,
    NOT_FOUND,
    OK,
    OTHER,
    SECRET,
    TOO_MANY,
    UNAUTHORIZED,
    Cluster,
    node,
    nodepull,
    pod,
    pull_secret,
    status,
    until,
    workload,
)  # fmt: skip
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import BasicGuard, RegistryDouble
from tidegate.testing.runtime import RuntimeDouble

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {{local: {{endpoint: "{url}"}}}}
    auth: [{{pullSecrets: {{namespaces: [team-id]}}}}]
"""
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tidegate-pull-secrets, namespace: team-id}
rules: [{apiGroups: [""], resources: [secrets, serviceaccounts], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tidegate-pull-secrets, namespace: team-id}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tidegate-pull-secrets}
subjects: [{kind: ServiceAccount, name: tidegate-controller, namespace: tidegate}]
"""


@pytest.fixture
def prepared(api_server: Any) -> Iterator[Any]:
    def namespace(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}

    def apply(*objects: dict[str, Any]) -> None:
        api_server.kubectl("apply", "-f", "-", text="\n---\n".join(json.dumps(one) for one in objects))

    apply(namespace("tidegate"), namespace("team-id"))
    api_server.kubectl("apply", "-f", str(CHECKOUT / "manifests/rbac.yaml"))
    api_server.kubectl("apply", "-f", "-", text=ROLE)
    apply(node("node-1"), node("node-2"), pull_secret(), pod("agent-1", "node-1"), pod("agent-2", "node-2"))
    yield api_server
    force = ("--force", "--grace-period=0", "--ignore-not-found")
    api_server.kubectl("delete", "pod", "agent-1", "agent-2", "-n", "tidegate", *force)
    api_server.kubectl("delete", "deployment,prepull", "--all", "-n", "team-id")
    api_server.kubectl("delete", "node,nodepull", "--all")
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api_server.kubectl("delete", kind, "--all", "--wait=true")


@pytest.fixture
async def guarded(prepared: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Without a controller; the policy is in force."""
    async with RegistryDouble(guard=BasicGuard({"ada": SECRET})) as replica:
        replica.put("app", build_image(layers=2), tag="1")
        cluster = Cluster(prepared, tmp_path, replica)
        cluster.apply(nodepull("probe"))
        token = cluster.token("agent-1")
        body = {"status": {"agent": "a"}}  # the API server takes a moment to compile a policy
        await until(lambda: cluster.write(token, "probe/status", body), lambda said: said[0] == FORBIDDEN)
        cluster.kubectl("delete", "nodepull", "probe")
        yield cluster


@pytest.fixture
async def cluster(guarded: Cluster) -> AsyncIterator[Cluster]:
    """With the controller."""
    folder, pair = guarded.folder, guarded.pair
    for name, content in (
        ("config.yaml", CONFIG.format(url=guarded.replica.url).encode()), ("ca.crt", pair.authority),
        ("tls.crt", pair.certificate), ("tls.key", pair.key),
    ):  # fmt: skip
        (folder / name).write_bytes(content)
    async with guarded.controller(guarded.port):
        yield guarded


async def test_each_agent_writes_the_status_of_its_own_node(guarded: Cluster) -> None:
    guarded.apply(nodepull("node-1"), nodepull("node-2"))
    one, two, unbound = guarded.token("agent-1"), guarded.token("agent-2"), guarded.token()
    print()
    for who, token, name in (("agent-1", one, "node-1"), ("agent-2", two, "node-2")):
        said = await guarded.write(token, f"{name}/status", status("u"))
        print(f"{who} → status of {name}: {said[0]}")
        assert said[0] == OK
    for who, token, name in (("agent-2", two, "node-1"), ("agent-1", one, "node-2"), ("no Pod's", unbound, "node-1")):
        said = await guarded.write(token, f"{name}/status", status("forged"))
        print(f"{who} → status of {name}: {said[0]} {said[1]}")
        assert said[0] == FORBIDDEN
        assert "an agent may only report on its own node" in said[1]
    for who, token, name in (("agent-1", one, "node-1"), ("agent-2", two, "node-1")):
        said = await guarded.write(token, name, {"spec": {"images": [{"image": OTHER}]}})
        print(f"{who} → spec of {name}: {said[0]} {said[1]}")
        assert said[0] == FORBIDDEN
    assert [guarded.nodepull(name)["status"]["nodeUid"] for name in ("node-1", "node-2")] == ["u", "u"]


async def test_each_agent_is_told_the_pull_secret_of_its_own_live_grant(cluster: Cluster) -> None:
    cluster.apply(workload(IMAGE, on="node-1"))
    bound, one = cluster.token("agent-1"), cluster.token("agent-1", audience=AUDIENCE)
    two, webhook = (
        cluster.token("agent-2", audience=AUDIENCE),
        cluster.token(audience=AUDIENCE, account="tidegate-webhook"),
    )
    assert await cluster.report(bound, "node-1", phase="Pending") == OK
    grant = await cluster.grant("node-1")
    told = await until(lambda: cluster.ask(one), lambda said: said[0] == OK)
    assert told == (OK, {"credentials": [{"username": "ada", "password": SECRET}]})
    print("\nagent-1 asks for the image that it is granted:", told[0], {"username": "ada", "password": "…"})

    for words, token, image, expected in (
        ("agent-2 asks for the same", two, IMAGE, NOT_FOUND),
        ("agent-1 asks for another image, without a grant", one, OTHER, NOT_FOUND),
        ("agent-1 shows its token for the API server", bound, IMAGE, UNAUTHORIZED),
        ("an agent's token that is bound to no Pod", cluster.token(audience=AUDIENCE), IMAGE, FORBIDDEN),
        ("the webhook's", webhook, IMAGE, FORBIDDEN),
        ("one with another signature", one[:-8] + "AAAAAAAA", IMAGE, UNAUTHORIZED),
    ):
        said = await cluster.ask(token, image)
        print(f"{words}: {said[0]} {said[1]['error']}")
        assert (said[0], set(said[1])) == (expected, {"error"})
    said = await cluster.write(one, "node-1/status", status("x"))
    print("the API server, shown the token for pull secrets:", said[0])
    assert said[0] == UNAUTHORIZED

    assert await cluster.report(bound, "node-1", phase="Present", grant=grant) == OK
    said = await until(lambda: cluster.ask(one), lambda said: said[0] != OK)
    print("agent-1, once its grant is answered:", said[0], said[1]["error"])
    assert said[0] == NOT_FOUND
    cluster.kubectl("delete", "pod", "agent-1", "-n", "tidegate", "--force", "--grace-period=0")
    began = time.monotonic()
    said = await until(lambda: cluster.ask(one), lambda said: said[0] not in {NOT_FOUND, TOO_MANY})
    print(f"agent-1, {time.monotonic() - began:.0f} s after its Pod is gone:", said[0], said[1]["error"])
    assert said[0] == UNAUTHORIZED
    assert_nothing_secret(cluster, bound, one, two)


async def test_a_stand_by_tells_too(cluster: Cluster) -> None:
    cluster.apply(workload(IMAGE, on="node-1"))
    assert await cluster.report(cluster.token("agent-1"), "node-1") == OK
    await cluster.grant("node-1")
    port, token = free_port(), cluster.token("agent-1", audience=AUDIENCE)
    async with cluster.controller(port):

        async def served() -> bool:
            return sum('"event":"pull_secrets.served"' in line for line in cluster.log) == 2

        await until(served, bool)
        said = await until(lambda: cluster.ask(token, port=port), lambda said: said[0] == OK)
        assert said[1]["credentials"][0]["username"] == "ada"
        leaders = sum('"event":"lease.won"' in line for line in cluster.log)
        print(f"\ntwo controllers serve, {leaders} leads, the other one answered:", said[0])
        assert leaders == 1


async def test_a_node_that_came_back_under_its_name_is_pulled_for_again(cluster: Cluster) -> None:
    cluster.apply(workload(IMAGE, on="node-2"))
    assert await cluster.report(cluster.token("agent-2"), "node-2") == OK
    before, uid = await cluster.grant("node-2"), cluster.uid("node-2")
    old = cluster.token("agent-2", audience=AUDIENCE)
    assert await cluster.report(cluster.token("agent-2"), "node-2", phase="Present", grant=before) == OK

    cluster.kubectl("delete", "node", "node-2")
    cluster.apply(node("node-2"))

    async def renewed() -> bool:
        return cluster.nodepull("node-2").get("spec", {}).get("nodeUid") == cluster.uid("node-2") != uid

    await until(renewed, bool)
    assert await cluster.report(cluster.token("agent-2"), "node-2", uid=uid, phase="Present", grant=before) == OK
    await asyncio.sleep(1)
    images = cluster.nodepull("node-2")["spec"]["images"]
    print("\nafter a status of the former UID:", images)
    assert [each.get("grant") for each in images] == [None], "it counts neither as there nor as an agent's"
    assert await cluster.report(cluster.token("agent-2"), "node-2") == OK
    again = await cluster.grant("node-2")
    print("granted before:", before, "and again:", again)
    assert again != before
    said = await cluster.ask(old)
    print("a token of the former node's:", said[0], said[1]["error"])
    assert said[0] == NOT_FOUND
    assert (await cluster.ask(cluster.token("agent-2", audience=AUDIENCE)))[0] == OK


async def test_an_agent_pulls_with_the_workloads_pull_secret(cluster: Cluster) -> None:
    token, folder = cluster.token("agent-1", audience=AUDIENCE), cluster.folder
    (folder / "token").write_text(token)
    async with (
        RuntimeDouble(registries={"registry.test": cluster.replica.url}) as runtime,
        cluster.program(
            "agent", "--config", str(folder / "config.yaml"), "--node", "node-1", "--cri-socket", runtime.socket,
            "--kubeconfig", cluster.kubeconfig("agent", cluster.token("agent-1")),
            "--controller-url", f"https://127.0.0.1:{cluster.port}", "--controller-ca-file", str(folder / "ca.crt"),
            "--controller-token-file", str(folder / "token"),
        ),
    ):  # fmt: skip
        cluster.apply(workload(IMAGE, on="node-1"))

        async def ended() -> list[Any]:
            images = cluster.nodepull("node-1").get("status", {}).get("images", [])
            return [each for each in images if each.get("phase") in {"Present", "Failed"}]

        (image,) = await until(ended, bool)
    print("\n", image)
    assert (image["phase"], image["attempts"]) == ("Present", 1)

    async def bytes_wanted() -> int:
        return int(cluster.nodepull("node-1")["spec"]["images"][0].get("bytes", 0))

    assert await until(bytes_wanted, bool) > 0, "priced with the pull secret, if it was there in time or not"
    assert_nothing_secret(cluster, token)


def assert_nothing_secret(cluster: Cluster, *tokens: str) -> None:
    """Neither in a log nor in an object that agents may read."""
    shown = "".join(cluster.log) + cluster.kubectl("get", "nodepulls,prepulls,imageavailabilities", "-A", "-o", "json")
    assert "pull_secret.told" in shown
    for secret in (SECRET, base64.b64encode(f"ada:{SECRET}".encode()).decode(), *tokens):
        assert secret not in shown
