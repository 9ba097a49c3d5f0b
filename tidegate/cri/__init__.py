"""CRI v1 as kubelet speaks it to a node's container runtime: `CriImages`. `Containerd`: what that one tells more."""

from tidegate.cri.client import DEFAULT_SOCKET, Credential, CriImages, ImageFilesystem, RuntimeVersion, StoredImage
from tidegate.cri.containerd import Containerd, Download, ImageEvent, NotContainerd, registered
from tidegate.cri.errors import CriError, PullError, RuntimeUnavailable

__all__ = [
    "DEFAULT_SOCKET",
    "Containerd",
    "Credential",
    "CriError",
    "CriImages",
    "Download",
    "ImageEvent",
    "ImageFilesystem",
    "NotContainerd",
    "PullError",
    "RuntimeUnavailable",
    "RuntimeVersion",
    "StoredImage",
    "registered",
]
