"""Shipped programs before one API server: what is known of an image serves them all."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tidegate.availability import name_of, spec_of
from tidegate.kube.own import ImageAvailability, ImageAvailabilityStatus, NamespaceUse, ReplicaAvailability
from tidegate.kube.shapes import Metadata
from tidegate.reference import ImageReference
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble

IMAGE = build_image(layers=20, layer_bytes=256)
NAME = f"r.example/app@{IMAGE.digest}"
OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True}]}


def availability(image: str, *, whole: bool = False, runs_in: tuple[str, ...] = ()) -> dict[str, Any]:
    """As the controller writes it."""
    spec = spec_of(ImageReference.parse(image), image)
    word = "ok" if whole else "absent"
    status = ImageAvailabilityStatus(
        replicas=[ReplicaAvailability(name="west", complete=whole, finding=word)],
        namespaces=[NamespaceUse(name=name, since="2026-11-24T12:00:00Z") for name in runs_in],
    )
    obj = ImageAvailability(metadata=Metadata(name=name_of(spec)), spec=spec, status=status)
    document: dict[str, Any] = {"apiVersion": obj.api_version, "kind": "ImageAvailability"}
    return {**msgspec.to_builtins(obj), **document}


def registry(host: str, replica: RegistryDouble) -> str:
    return f'{{host: {host}, replicas: {{west: {{endpoint: "{replica.url}"}}}}}}'


def of_images(replica: RegistryDouble) -> int:
    """Requests about images; that a program asks whether a replica is there at all costs no walk."""
    return sum("/manifests/" in one.path or "/blobs/" in one.path for one in replica.requests)


@asynccontextmanager
async def webhooks(programs: Any, folder: Path, api: ApiServerDouble, text: str, count: int) -> AsyncIterator[Any]:
    kubeconfig = str(api.kubeconfig(folder / "kubeconfig"))
    async with AsyncExitStack() as stack:
        children = []
        for number in range(count):
            (own := folder / str(number)).mkdir()
            child = programs.running(own, text, "--kubeconfig", kubeconfig, "--namespace", "gate")
            children.append(await stack.enter_async_context(child))
        yield children


async def test_one_walk_serves_three_processes_once_it_is_shared(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with ApiServerDouble() as api, RegistryDouble() as replica:
        replica.put("app", IMAGE)
        replica.put("own", IMAGE)
        api.put(availability(NAME, whole=True), plural="imageavailabilities")
        text = programs.config(registry("r.example", replica))
        async with webhooks(programs, tmp_path, api, text, 3) as children:
            shared = [await child.finding(session, NAME) for child in children]
            of_shared = of_images(replica)
            alone = [await child.finding(session, f"r.example/own@{IMAGE.digest}") for child in children]
            of_own = of_images(replica) - of_shared
            print(
                f"three processes, one digest: {of_own} requests when each walks, {of_shared} once the fact is shared"
            )
            assert shared == alone == ["ok"] * 3
            assert of_shared == 0
            assert of_own == 3 * (1 + 1 + 20), "manifest, config and layers, three times"

            gone = availability(NAME)
            api.put(gone, plural="imageavailabilities")
            replica.lose("app", IMAGE.digest)

            async def know() -> bool:
                return [await child.finding(session, NAME) for child in children] == ["absent"] * 3

            await programs.until(know, within_s=5.0)


async def test_what_is_known_outlives_a_configuration_that_keeps_the_registry(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with ApiServerDouble() as api, RegistryDouble() as replica, RegistryDouble() as other:
        other.put("app", IMAGE)
        for host in ("r.example", "s.example"):
            image = f"{host}/app@{IMAGE.digest}"
            api.put(availability(image, whole=True), plural="imageavailabilities")
        first = programs.config(registry("r.example", replica), registry("s.example", replica))
        async with webhooks(programs, tmp_path, api, first, 1) as [child]:
            assert await child.finding(session, f"s.example/app@{IMAGE.digest}") == "ok"
            then = programs.config(registry("r.example", replica), registry("s.example", other))
            programs.put(tmp_path / "0" / "config.yaml", then.encode())

            async def reloaded() -> bool:
                return "config.reloaded" in child.log

            await programs.until(reloaded, within_s=5.0)
            assert await child.finding(session, NAME) == "ok"
            assert of_images(replica) == 0
            assert await child.finding(session, f"s.example/app@{IMAGE.digest}") == "ok"
            assert of_images(other) > 0, "what was said of another endpoint is not believed of this one"


async def test_what_runs_comes_back_and_nothing_more(
    programs: Any, make: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Twenty workloads by tag in a namespace that enforces digests by now, and a dark registry besides."""
    images = [f"r.example/app{number}:1" for number in range(20)]
    async with ApiServerDouble() as api, RegistryDouble() as dark:
        for image in images:
            api.put(availability(image, runs_in=("shop",)), plural="imageavailabilities")
        text = programs.config(registry("r.example", dark)).replace("tags: allow", "tags: require-digest")
        async with webhooks(programs, tmp_path, api, text, 1) as [child]:

            async def come(image: str, **others: Any) -> tuple[bool, str, str]:
                pod = make.pod(image, metadata=OWNED)
                changes = make.patch_of(await child.ask(session, make.review(pod, **others), "/mutate"))
                after = make.patched(pod, changes)
                said: tuple[bool, str, str] = (await child.ask(session, make.review(after, **others), "/validate")).said
                return said

            assert [await come(image) for image in images] == [(True, "warn", "not-pinned")] * 20
            assert await come("r.example/app20:1") == (False, "deny", "not-pinned")
            assert await come(images[0], namespace="bank") == (False, "deny", "not-pinned")
            template = {"metadata": {"name": "w"}, "spec": {"template": {"spec": make.pod_spec(images[0])}}}
            workload = await child.ask(session, make.review(template, group="apps", kind="Deployment"), "/validate")
            assert workload.said == (False, "deny", "not-pinned")
            assert await child.metric(session, "tidegate_grandfathered_total") == 20
            assert of_images(dark) == 0


async def test_it_starts_without_the_definition(programs: Any, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with ApiServerDouble(without=frozenset({"imageavailabilities"})) as api, RegistryDouble() as replica:
        replica.put("app", IMAGE)
        async with webhooks(programs, tmp_path, api, programs.config(registry("r.example", replica)), 1) as [child]:
            assert await child.finding(session, NAME) == "ok"
            assert "Traceback" not in child.log
