"""CRI v1, as kubelet speaks it to the container runtime of a node: `CriImages`, and what goes wrong."""

from tidegate.cri.client import DEFAULT_SOCKET, Credential, CriImages, ImageFilesystem, RuntimeVersion, StoredImage
from tidegate.cri.errors import CriError, PullError, RuntimeUnavailable

__all__ = [
    "DEFAULT_SOCKET",
    "Credential",
    "CriError",
    "CriImages",
    "ImageFilesystem",
    "PullError",
    "RuntimeUnavailable",
    "RuntimeVersion",
    "StoredImage",
]
