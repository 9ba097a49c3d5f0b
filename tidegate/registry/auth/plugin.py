"""One run of a credential provider plugin: credentialprovider.kubelet.k8s.io/v1 over stdin and stdout.

The plugin is a program of the operator's. It gets this process's environment and what its configuration adds, no
shell, a process group of its own that ends with it, a minute, and a bounded answer. Its words on stderr are not
read: they may hold what they should not.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from tidegate.config.quantities import seconds
from tidegate.registry.auth.credentials import UserPassword

API_VERSION = "credentialprovider.kubelet.k8s.io/v1"
LONGEST_S = 60.0
"""As kubelet has it."""
_MOST_BYTES = 256 * 2**10
_CHUNK = 64 * 2**10
_AFTER_KILL_S = 1.0


class PluginFailed(Exception):
    """Why a plugin gave nothing that can be used, without a word of its own."""


class CacheKeyType(StrEnum):
    """For what else an answer is good."""

    IMAGE = "Image"
    REGISTRY = "Registry"
    GLOBAL = "Global"


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """What a plugin said."""

    reach: CacheKeyType
    keep_s: float | None
    """How long it may be kept; None: as long as is usual for the plugin."""
    auth: tuple[tuple[str, UserPassword], ...] = field(repr=False)
    """Keys of kubelet's kind, with what is under them."""


class _Auth(msgspec.Struct):
    username: str = ""
    password: str = ""


class _Response(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    cache_key_type: CacheKeyType
    cache_duration: str | None = None
    auth: dict[str, _Auth] | None = None


_decode = msgspec.json.Decoder(_Response).decode


async def ask_plugin(
    executable: str, *, args: Sequence[str], env: Mapping[str, str], image: str, longest_s: float = LONGEST_S
) -> PluginAnswer:
    """Run a plugin for an image. Raises PluginFailed; nothing it started is left when this ends."""
    request = {"apiVersion": API_VERSION, "kind": "CredentialProviderRequest", "image": image}
    try:
        process = await asyncio.create_subprocess_exec(
            executable, *args, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, start_new_session=True, env={**os.environ, **env},
        )  # fmt: skip
    except OSError as exc:
        message = f"cannot be started: {exc.strerror or type(exc).__name__}"
        raise PluginFailed(message) from exc
    try:
        async with asyncio.timeout(longest_s):
            raw = await _exchange(process, msgspec.json.encode(request))
            code = await process.wait()
    except TimeoutError as exc:
        message = f"no answer within {longest_s:g} s"
        raise PluginFailed(message) from exc
    finally:
        await _end(process)
    if code != 0:
        message = f"ended with code {code}"
        raise PluginFailed(message)
    return parse_response(raw)


def parse_response(raw: bytes) -> PluginAnswer:
    """Read a CredentialProviderResponse. Raises PluginFailed."""
    try:
        response = _decode(raw)
        keep_s = None if response.cache_duration is None else seconds(response.cache_duration)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        response, keep_s = None, None
    if response is None or response.kind != "CredentialProviderResponse" or response.api_version != API_VERSION:
        message = f"its answer is no CredentialProviderResponse of {API_VERSION}"
        raise PluginFailed(message)
    auth = (response.auth or {}).items()
    found = tuple((key, UserPassword(who.username, who.password)) for key, who in auth if who.username)
    return PluginAnswer(response.cache_key_type, keep_s, found)


async def _exchange(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is told
        process.stdin.write(request)
        await process.stdin.drain()
    process.stdin.close()
    answer = bytearray()
    while chunk := await process.stdout.read(_CHUNK):
        answer += chunk
        if len(answer) > _MOST_BYTES:
            message = f"its answer is larger than {_MOST_BYTES} bytes"
            raise PluginFailed(message)
    return bytes(answer)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the process group, and see the pipes close."""
    with suppress(ProcessLookupError, PermissionError):  # the group is gone, or is another's by now
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_AFTER_KILL_S):
            while process.stdout is not None and await process.stdout.read(_CHUNK):
                pass
            await process.wait()
