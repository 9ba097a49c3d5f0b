"""Free ports of loopback, for child processes that are told theirs."""

import socket


def free_port() -> int:
    """A port that nobody listens on right now; the one who asked binds it next."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
