"""What the demo plays with: one heavy image, twelve nodes, a replica that limits requests and bandwidth.

The numbers are those of a scale-out that was measured with real kubelets and containerds; nothing is compressed in
time. A pull costs 15 requests (one HEAD, the manifest, the config, twelve layers), and alone it takes about 0.6 s.
"""

from tidegate.testing.images import Image, build_image
from tidegate.testing.registry import Throttle

HOST = "registry.example.com"
REPOSITORY = "shop/model"
NODES = tuple(f"node-{number:02}" for number in range(1, 13))

LAYERS = 12
LAYER_BYTES = 1 << 20
REQUESTS_PER_SECOND = 20.0
BURST = 10
BANDWIDTH = 20 * (1 << 20)
"""Bytes a second of the replica, for all nodes together."""
FIXED_BOUND = 3
CUT_OFF_S = 20.0
"""The herd and the fixed bound are stopped here and shown as they stand."""
PULL_COST = 3 + LAYERS


def heavy_image() -> Image:
    """The image that every node wants."""
    return build_image(layers=LAYERS, layer_bytes=LAYER_BYTES, seed="heavy")


def heavy_reference(image: Image) -> str:
    """The string that the pods use."""
    return f"{HOST}/{REPOSITORY}:1@{image.digest}"


def throttle() -> Throttle:
    """The replica's limit of requests."""
    return Throttle(rate=REQUESTS_PER_SECOND, burst=BURST)


def wire_s(image: Image) -> float:
    """What nobody can beat: the wire's time for the bytes, or the limit's time for the requests."""
    total_bytes = sum(len(blob) for blob in image.all_blobs().values()) * len(NODES)
    requests = len(NODES) * PULL_COST
    return max(total_bytes / BANDWIDTH, (requests - BURST) / REQUESTS_PER_SECOND)
