"""Sockets that notice when the other end has gone without a word (a node that lost power, a firewall that forgot)."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress

import aiohttp

_IDLE_S = 30
_EVERY_S = 10
_PROBES = 3
_END_S = 1.0
_LOOK_S = 0.005


def keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A TCP socket whose dead peer is found within a minute, even while only the peer would speak, as in a watch."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _EVERY_S), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):  # not everywhere under these names
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


async def ended(sockets: Iterable[socket.socket]) -> None:
    """Have these closed by those who use them, without a word from the other end.

    A TLS connection that is left in the middle of an answer says goodbye and waits for the other end's, for up to 30 s:
    a server that is busy or frozen would keep its socket open until after the event loop.
    """
    for each in tuple(sockets):
        with suppress(OSError):  # not connected any more
            each.shutdown(socket.SHUT_RDWR)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            while any(each.fileno() >= 0 for each in tuple(sockets)):  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(_LOOK_S)
