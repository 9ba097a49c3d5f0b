"""The Secret as it comes, changes and goes."""

import asyncio
import base64
from collections.abc import Callable

from tidegate.kube.client import KubeClient
from tidegate.kube.own import DECISION_SECRET
from tidegate.kube.reflector import Pauses, Reflector
from tidegate.kube.resources import SECRETS
from tidegate.testing.apiserver import ApiServerDouble
from webhook.keys import NoKeys, WatchedKeys


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


async def test_keys_follow_their_secret() -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        reflector = Reflector(client, SECRETS, namespace="gate", pauses=Pauses(first=0.01, spread=0.01))
        keys = WatchedKeys(reflector, namespace="gate")
        task = asyncio.create_task(reflector.run())
        await reflector.synced.wait()
        assert keys.keys() == {}

        async def until(holds: Callable[[], bool]) -> None:
            async with asyncio.timeout(5):
                while not holds():
                    await reflector.changed()

        one = {"name": DECISION_SECRET, "namespace": "gate"}
        data = {"1": encoded(b"k" * 32), "2": "?"}
        api.put({"apiVersion": "v1", "kind": "Secret", "metadata": one, "data": data}, plural="secrets")
        await until(lambda: keys.keys() == {"1": b"k" * 32})
        assert keys.keys() is keys.keys(), "decoded once"
        other = {**one, "name": "other"}
        api.put({"apiVersion": "v1", "kind": "Secret", "metadata": other, "data": data}, plural="secrets")
        fresh = {"data": {"1": None, "3": encoded(b"n" * 32)}}
        await client.merge_patch(SECRETS, DECISION_SECRET, fresh, namespace="gate")
        await until(lambda: keys.keys() == {"3": b"n" * 32})
        await client.delete(SECRETS, DECISION_SECRET, namespace="gate")
        await until(lambda: keys.keys() == {})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_without_a_cluster_there_are_none() -> None:
    assert NoKeys().keys() == {}
