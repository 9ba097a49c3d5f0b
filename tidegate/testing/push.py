"""Pushes images to any registry by the distribution API, the double or a real one."""

import io
from collections.abc import Collection, Mapping
from http import HTTPStatus
from urllib.parse import quote, urljoin

import aiohttp

from tidegate.reference import Digest
from tidegate.testing.images import Image


class PushRefused(Exception):
    """A registry did not take a part of an image; `status` is its answer."""

    def __init__(self, method: str, target: str, *, status: int, body: str) -> None:
        super().__init__(f"{method} {target}: {status} {body[:256]}")
        self.status = status


async def push_image(
    session: aiohttp.ClientSession,
    url: str,
    repository: str,
    image: Image,
    *,
    tag: str | None = None,
    without: Collection[Digest] = (),
    headers: Mapping[str, str] | None = None,
) -> None:
    """Blobs, then manifests from the bottom up, then the tag; leaves out `without`."""
    base = f"{url}/v2/{repository}"
    for part in image.walk():
        for digest, content in part.blobs.items():
            if digest not in without:
                await push_blob(session, url, repository, digest, content, headers=headers)
        if part.digest not in without:
            reference = tag if tag is not None and part is image else part.digest
            await _expect(
                session, "PUT", f"{base}/manifests/{reference}", part.manifest,
                headers={"Content-Type": part.media_type, **(headers or {})},
            )  # fmt: skip


async def push_blob(
    session: aiohttp.ClientSession,
    url: str,
    repository: str,
    digest: Digest,
    content: bytes,
    *,
    headers: Mapping[str, str] | None = None,
) -> None:
    """One blob in one piece."""
    begun = await _expect(
        session, "POST", f"{url}/v2/{repository}/blobs/uploads/", headers=headers, status=HTTPStatus.ACCEPTED
    )
    location = urljoin(url, begun["Location"])
    target = f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe='')}"
    octets = {"Content-Type": "application/octet-stream", **(headers or {})}
    await _expect(session, "PUT", target, content, headers=octets)


async def _expect(
    session: aiohttp.ClientSession,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    status: int = HTTPStatus.CREATED,
) -> Mapping[str, str]:
    async with session.request(method, target, data=io.BytesIO(body), headers=headers) as response:
        if response.status != status:
            text = await response.text(errors="replace")
            raise PushRefused(method, target, status=response.status, body=text)
        return response.headers.copy()
