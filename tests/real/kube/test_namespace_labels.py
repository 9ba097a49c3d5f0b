"""Who changes the namespace labels that decide a mode, before kube-apiserver, and what the controller makes of them.

The policies are put there by the controller's own code, with the controller's own token and the shipped roles.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.modes import Modes
from controller.policies import Policies
from controller.webhooks import Webhooks
from tidegate.admission import excluded, policies, webhook_configurations
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NAMESPACES, VALIDATING_WEBHOOKS
from tidegate.policy import Policy, Rule, Selector, Settings

pytestmark = pytest.mark.real

MANIFESTS = Path(__file__).parents[3] / "manifests"
CONTROLLER = "system:serviceaccount:tidegate:tidegate-controller"
EFFECTIVE = "tidegate.dev/effective-mode"
ACTIVE_S = 20.0
POLICY = Policy(base=Settings(mode=Mode.WARN), rules=(Rule(Selector({"env": "prod"}), Settings(mode=Mode.ENFORCE)),))
WANTED = policies(POLICY, ["r.example"], own="tidegate")


@pytest.fixture(scope="module")
def roles(api_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the controller's; besides the shipped roles there are an editor and a gatekeeper."""
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}
    api_server.kubectl("apply", "-f", "-", text=json.dumps(own))
    api_server.kubectl("apply", "-f", str(MANIFESTS / "rbac.yaml"))
    may = "--verb=get,list,create,update,patch,delete"
    for arguments in (
        ("clusterrole", "editor", may, "--resource=namespaces,namespaces/status,namespaces/finalize"),
        ("clusterrolebinding", "editor", "--clusterrole=editor", "--user=editor", "--user=gatekeeper"),
        ("clusterrolebinding", "gatekeeper", "--clusterrole=tidegate-gate", "--user=gatekeeper"),
    ):
        made = api_server.kubectl("create", *arguments, "--dry-run=client", "-o", "yaml")
        api_server.kubectl("apply", "-f", "-", text=made)
    kubeconfig = yaml.safe_load(api_server.kubeconfig.read_text())
    token = api_server.kubectl("create", "token", "tidegate-controller", "-n", "tidegate").strip()
    kubeconfig["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("roles") / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    return path


@pytest.fixture
async def client(roles: Path) -> AsyncIterator[KubeClient]:
    """The controller's."""
    async with KubeClient(from_kubeconfig(roles)) as client:
        yield client


@pytest.fixture
async def guarded(api_server: Any, api: Any, client: KubeClient) -> AsyncIterator[Any]:
    """`api`, with the policies in force."""
    await Policies(client, WANTED, chance=random.Random(0)).keep()  # noqa: S311
    end = time.monotonic() + ACTIVE_S
    while (await patched(api, "default", {"env": "x"}, user="editor", dry=True)).status == 200:
        assert time.monotonic() < end, "the policy never came into force"
        await asyncio.sleep(0.2)
    yield api
    for document in reversed(WANTED):
        api_server.kubectl("delete", document["kind"], document["metadata"]["name"])


async def patched(
    api: Any, name: str, labels: dict[str, str | None], *, user: str = "", of: str = "", dry: bool = False
) -> Any:
    path = f"/api/v1/namespaces/{name}{of}"
    return await api("PATCH", path, {"metadata": {"labels": labels}}, user=user, dry=dry)


async def made(api: Any, name: str, user: str = "", **labels: str) -> Any:
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    return await api("POST", "/api/v1/namespaces", document, user=user)


async def test_only_who_holds_the_verb_changes_what_decides_a_mode(guarded: Any) -> None:
    assert (await made(guarded, "labels-1", env="prod", **{EFFECTIVE: "enforce"})).status == 201
    for labels in (
        {"tidegate.dev/mode": "audit"}, {"tidegate.dev/break-glass": "yes"}, {EFFECTIVE: "audit"}, {EFFECTIVE: None},
        {"tidegate.dev/made-up": "x"}, {"env": "dev"}, {"env": None}, {"team": "a", "env": None},
    ):  # fmt: skip
        for of in ("", "/status"):
            refused = await patched(guarded, "labels-1", labels, user="editor", of=of)
            assert refused.status == 403, (labels, of, refused)
            changed = next(key for key in labels if key != "team")
            assert f"denied request: {changed}: these labels decide how tidegate gates" in refused.message
            allowed = await patched(guarded, "labels-1", labels, user="gatekeeper", of=of, dry=True)
            assert allowed.status == 200, (labels, of, allowed)
    assert (await patched(guarded, "labels-1", {"team": "b", "env": "prod"}, user="editor")).status == 200


async def test_nor_makes_a_namespace_with_them(guarded: Any) -> None:
    assert (await made(guarded, "labels-2", user="editor", env="prod")).status == 403
    assert (await made(guarded, "labels-2", user="editor", **{"tidegate.dev/mode": "audit"})).status == 403
    assert (await made(guarded, "labels-2", user="editor", team="a")).status == 201
    assert (await made(guarded, "labels-3", user="gatekeeper", env="prod")).status == 201


async def test_the_controller_writes_effective_mode_and_nothing_else(guarded: Any, client: KubeClient) -> None:
    await made(guarded, "labels-4")
    labels = {"metadata": {"labels": {EFFECTIVE: "enforce"}}}
    written = await client.merge_patch(NAMESPACES, "labels-4", labels)
    assert written.metadata.labels[EFFECTIVE] == "enforce"
    refused = await patched(guarded, "labels-4", {EFFECTIVE: "warn", "tidegate.dev/mode": "warn"}, user=CONTROLLER)
    assert refused.status == 403


async def test_kubectl_says_what_to_do(api_server: Any, guarded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    await made(guarded, "labels-5", env="prod")
    command = ("label", "namespace", "labels-5", "tidegate.dev/mode=audit", "--overwrite")
    with pytest.raises(AssertionError) as refusal:
        await asyncio.to_thread(api_server.kubectl, "--as=editor", *command)
    with capsys.disabled():
        print(f"\n$ kubectl --as=editor {' '.join(command)}\n{str(refusal.value).splitlines()[0]}")
        said = await asyncio.to_thread(api_server.kubectl, "--as=gatekeeper", *command)
        print(f"$ kubectl --as=gatekeeper {' '.join(command)}\n{said}".rstrip())
    assert "ClusterRole tidegate-gate" in str(refusal.value)


@asynccontextmanager
async def writing(client: KubeClient, policy: Policy) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        reflector = Reflector(client, NAMESPACES)
        watching = tasks.create_task(reflector.run())
        await reflector.synced.wait()
        modes = Modes(
            client, namespaces=reflector, policy=policy, alone=excluded("tidegate"),
            clock=asyncio.get_running_loop().time, chance=random.Random(0),  # noqa: S311
        )  # fmt: skip
        modes.start()
        loops = [tasks.create_task(loop()) for loop in modes.loops().values()]
        yield
        for task in (watching, *loops):
            task.cancel()


async def becomes(api: Any, name: str, mode: str) -> None:
    async with asyncio.timeout(5):
        while True:
            with suppress(KeyError):
                if (await api("GET", f"/api/v1/namespaces/{name}")).body["metadata"]["labels"][EFFECTIVE] == mode:
                    return
            await asyncio.sleep(0.02)


async def test_every_namespace_is_labelled_with_its_mode(guarded: Any, client: KubeClient) -> None:
    await made(guarded, "modes-prod", env="prod")
    await made(guarded, "modes-own", env="prod", **{"tidegate.dev/mode": "audit"})
    await made(guarded, "modes-broken", env="prod", **{"tidegate.dev/break-glass": "on-call"})
    await made(guarded, "modes-plain")
    async with writing(client, POLICY):
        for name, mode in {
            "modes-prod": "enforce", "modes-own": "audit", "modes-broken": "audit", "modes-plain": "warn",
        }.items():  # fmt: skip
            await becomes(guarded, name, mode)
        await patched(guarded, "modes-prod", {EFFECTIVE: "audit"})
        await becomes(guarded, "modes-prod", "enforce")
        await patched(guarded, "modes-broken", {"tidegate.dev/break-glass": None})
        await becomes(guarded, "modes-broken", "enforce")
    async with writing(client, Policy(base=Settings(mode=Mode.ENFORCE))):
        await becomes(guarded, "modes-plain", "enforce")
    left = await guarded("GET", "/api/v1/namespaces/kube-system")
    assert EFFECTIVE not in left.body["metadata"]["labels"]


async def test_what_is_kept_is_not_written_again(guarded: Any, api_server: Any, client: KubeClient) -> None:
    del guarded

    def versions() -> list[str]:
        kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings"
        found = json.loads(api_server.kubectl("get", kinds, "-o", "json"))["items"]
        return [one["metadata"]["resourceVersion"] for one in found]

    before = versions()
    await Policies(client, WANTED, chance=random.Random(0)).keep()  # noqa: S311
    assert versions() == before
    api_server.kubectl("delete", "validatingadmissionpolicybinding", WANTED[0]["metadata"]["name"])
    await Policies(client, WANTED, chance=random.Random(0)).keep()  # noqa: S311
    assert len(versions()) == len(before)


async def test_armed_webhooks_follow_and_are_not_written_again(api_server: Any, client: KubeClient) -> None:
    armed = webhook_configurations(Mode.AUDIT, own="tidegate", authority="")
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*armed]})
    wanted = webhook_configurations(Mode.ENFORCE, own="tidegate", authority="")
    api_server.kubectl("apply", "-f", "-", text=given)
    try:
        await Webhooks(client, wanted, chance=random.Random(0)).keep()  # noqa: S311
        first = await client.get(VALIDATING_WEBHOOKS, "tidegate")
        await Webhooks(client, wanted, chance=random.Random(0)).keep()  # noqa: S311
        second = await client.get(VALIDATING_WEBHOOKS, "tidegate")
    finally:
        api_server.kubectl("delete", "-f", "-", text=given)
    assert [hook["namespaceSelector"] for hook in first.webhooks] == [
        hook["namespaceSelector"] for hook in wanted[0]["webhooks"]
    ]
    assert first.metadata.resource_version == second.metadata.resource_version
