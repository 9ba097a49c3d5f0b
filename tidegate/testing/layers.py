"""Layers as bytes: reproducible tars that a real runtime can unpack, packed the ways that registries carry them.

The same arguments always give the same bytes, so digests in tests and in the demo are stable.
"""

import hashlib
import io
import random
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tidegate.reference import Digest

_ZSTD_BLOCK: Final = 1 << 17
"""Bytes of the largest zstd block, RFC 8878 section 3.1.1.2.4; also the window that the frame below declares."""
_TAR_MTIME: Final = 1_577_836_800
"""Seconds: 2020-01-01, any constant will do."""


class Packing(StrEnum):
    """How a layer's tar is packed; the value is what the OCI media type ends in."""

    NONE = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the bytes a registry keeps, and the digest of the tar inside, which the config must name."""

    content: bytes
    packing: Packing
    diff_id: Digest

    @property
    def digest(self) -> Digest:
        """What a manifest calls this layer."""
        return digest_of(self.content)


def digest_of(content: bytes) -> Digest:
    """The sha256 digest of the bytes, as registries spell it."""
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def build_layer(
    *,
    size: int = 0,
    seed: object = 0,
    files: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
    packing: Packing = Packing.GZIP,
) -> Layer:
    """A layer with `size` bytes that do not compress, executable `files` and symbolic `links` (name to target)."""
    tar = _tar(size=size, seed=seed, files=files or {}, links=links or {})
    # Random bytes do not get smaller: stored blocks spare the time.
    level = 6 if files else 0
    content = {
        Packing.NONE: lambda: tar,
        Packing.GZIP: lambda: gzip_member(tar, level=level),
        Packing.ZSTD: lambda: zstd_frame(tar),
    }[packing]()
    return Layer(content=content, packing=packing, diff_id=digest_of(tar))


def gzip_member(content: bytes, *, level: int) -> bytes:
    """One gzip member without name and time, so that it is the same on every machine and day."""
    packer = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def zstd_frame(content: bytes) -> bytes:
    """A valid zstd frame of raw blocks (RFC 8878): right to unpack, needs no library, saves nothing."""
    parts = [(0xFD2FB528).to_bytes(4, "little"), b"\x00", bytes([7 << 3])]
    offsets = range(0, len(content), _ZSTD_BLOCK) or (0,)
    for offset in offsets:
        block = content[offset : offset + _ZSTD_BLOCK]
        last = offset + _ZSTD_BLOCK >= len(content)
        parts += ((len(block) << 3 | last).to_bytes(3, "little"), block)
    return b"".join(parts)


def _tar(*, size: int, seed: object, files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in sorted({part for name in (*files, *links) for part in _folders(name)}):
            tar.addfile(_entry(folder, kind=tarfile.DIRTYPE, mode=0o755))
        for name, content in files.items():
            tar.addfile(_entry(name, size=len(content), mode=0o755), io.BytesIO(content))
        for name, target in links.items():
            tar.addfile(_entry(name, kind=tarfile.SYMTYPE, mode=0o777, target=target))
        if size:
            # The seed names the file too: layers of one image then add files and hide none.
            name = f"random-{digest_of(repr(seed).encode())[7:19]}"
            content = random.Random(repr(seed)).randbytes(size)  # noqa: S311 - reproducible, not secret
            tar.addfile(_entry(name, size=size, mode=0o644), io.BytesIO(content))
        end = tar.offset + 2 * tarfile.BLOCKSIZE
    # Two empty blocks end an archive; the padding to a tape's record would only make small layers large.
    return buffer.getvalue()[:end]


def _entry(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, mode: int, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.type, entry.size, entry.mode, entry.mtime, entry.linkname = kind, size, mode, _TAR_MTIME, target
    return entry


def _folders(name: str) -> list[str]:
    parts = name.lstrip("/").split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
