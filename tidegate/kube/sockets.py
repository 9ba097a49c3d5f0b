"""Sockets that notice when the other end has gone without a word (a node that lost power, a firewall that forgot)."""

import socket

import aiohttp

_IDLE_S = 30
_EVERY_S = 10
_PROBES = 3


def keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A TCP socket whose dead peer is found within a minute, even while only the peer would speak, as in a watch."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _EVERY_S), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):  # not everywhere under these names
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
