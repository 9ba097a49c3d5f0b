"""The shipped program before an API server: its namespaces, and the one Secret that it may read."""

import base64
from pathlib import Path
from typing import Any

import aiohttp

from tidegate.decisions import ANNOTATION
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble

SECRETS = "/api/v1/namespaces/gate/secrets"


def secret(**keys: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tidegate-decision", "namespace": "gate"},
        "data": {name: base64.b64encode(key).decode() for name, key in keys.items()},
    }  # fmt: skip


async def test_two_programs_share_a_secret_and_nothing_else(
    programs: Any, make: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    image = build_image()
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    async with ApiServerDouble() as api, RegistryDouble() as replica, RegistryDouble() as dark:
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
        replica.put("web", image)
        more = ("--kubeconfig", kubeconfig, "--namespace", "gate")
        texts = [
            programs.config(f'{{host: r.example, replicas: {{west: {{endpoint: "{one.url}"}}}}}}')
            for one in (replica, dark)
        ]
        async with (
            programs.running(folders[0], texts[0], *more) as one,
            programs.running(folders[1], texts[1], *more) as other,
        ):
            pod = make.pod(f"r.example/web:1@{image.digest}")
            unsigned = await one.ask(session, make.review(pod), "/mutate")
            assert make.patch_of(unsigned) == []
            alone = await other.ask(session, make.review(pod), "/validate")
            assert alone.said == (False, "hold", "absent")

            api.put(secret(k1=b"k" * 32, short=b"x"), plural="secrets")
            signed = pod

            async def agree() -> bool:
                nonlocal signed
                signed = make.patched(pod, make.patch_of(await one.ask(session, make.review(pod), "/mutate")))
                return (await other.ask(session, make.review(signed), "/validate")).said == (True, "allow", "ok")

            await programs.until(agree, within_s=10)
            assert ANNOTATION in signed["metadata"]["annotations"]

            held = await other.ask(session, make.review(pod), "/mutate")
            after = make.patched(pod, make.patch_of(held))
            assert after["spec"]["schedulingGates"] == [{"name": "tidegate.dev/replica"}]
            assert (await one.ask(session, make.review(after), "/validate")).said == (True, "hold", "absent")
            asked = {(seen.path, "metadata.name%3Dtidegate-decision" in seen.query) for seen in api.requests}
            assert {path for path, _ in asked if "secrets" in path} == {SECRETS}
            assert (SECRETS, False) not in asked
            for child in (one, other):
                assert await child.end() == 0
                assert base64.b64encode(b"k" * 32).decode() not in child.log
