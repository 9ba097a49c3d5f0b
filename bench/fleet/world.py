"""What a fleet is made of: Nodes, a configuration, images in a registry, and who asks for them on all nodes."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tidegate.kube.client import KubeClient
from tidegate.kube.resources import NODES, PREPULLS
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble

HOST = "registry.bench.example"
NAMESPACE = "default"
ASK = "fleet"
LAYERS = 10
_AT_ONCE = 16
_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")


def node_name(number: int) -> str:
    return f"aks-pool-{number // 100:03d}-vmss{number:06x}"


def images(registry: RegistryDouble, count: int) -> list[str]:
    """So many images, put into the registry; as pods spell them."""
    built = [build_image(layers=LAYERS, seed=number) for number in range(count)]
    for number, image in enumerate(built):
        registry.put(f"shop/app-{number:02d}", image)
    return [f"{HOST}/shop/app-{number:02d}@{image.digest}" for number, image in enumerate(built)]


def configuration(folder: Path, *, replica: str, in_flight: int) -> Path:
    """The controller's file: pulls are bounded by their number alone."""
    pulls = {
        "inFlight": in_flight, "maxInFlight": in_flight,
        "requestsPerSecond": 100_000, "burst": 100_000, "maxRequestsPerSecond": 100_000,
    }  # fmt: skip
    document = {
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config",
        "registries": [{"host": HOST, "replicas": {"local": {"endpoint": replica}}, "pulls": pulls}],
        "prePull": {"startupTaint": False},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


async def make_nodes(client: KubeClient, count: int) -> None:
    """Ready Nodes, as heavy as a cloud's are without the list of their images."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await client.create(NODES, _node(number))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(some())


def _node(number: int) -> Mapping[str, Any]:
    name = node_name(number)
    labels = {
        "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": f"westeurope-{number % 3 + 1}", "kubernetes.azure.com/agentpool": "pool",
        "node.kubernetes.io/instance-type": "Standard_D8s_v5",
    }  # fmt: skip
    now = "2026-01-01T00:00:00Z"
    conditions = [
        {
            "type": kind, "status": str(kind == "Ready"), "reason": f"Kubelet{kind}", "message": f"kubelet: {kind}",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }
        for kind in _CONDITIONS
    ]  # fmt: skip
    capacity = {"cpu": "8", "memory": "32859548Ki", "pods": "250", "ephemeral-storage": "129886128Ki"}
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    info = {
        "architecture": "amd64", "operatingSystem": "linux", "machineID": f"{number:032x}", "bootID": f"{number:036x}",
        "systemUUID": f"{number:036x}", "kernelVersion": "6.8.0", "osImage": "Ubuntu 24.04 LTS",
        "containerRuntimeVersion": "containerd://2.1.0", "kubeletVersion": "v1.34.0", "kubeProxyVersion": "",
    }  # fmt: skip
    status = {
        "capacity": capacity, "allocatable": capacity, "conditions": conditions, "nodeInfo": info,
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
    }  # fmt: skip
    return {"metadata": {"name": name, "labels": labels}, "status": status}


async def ask(client: KubeClient, wanted: Sequence[str]) -> None:
    """A PrePull of all images, for all nodes."""
    spec = {"images": list(wanted), "tolerations": [{"operator": "Exists"}]}
    await client.create(PREPULLS, {"metadata": {"name": ASK}, "spec": spec}, namespace=NAMESPACE)
