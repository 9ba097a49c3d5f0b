"""What the receiver answers the leader, and both sides' names for it."""

import msgspec

from controller.events.arrivals import Arrival

PATH = "/events"
WAIT_S = 25.0
"""How long a request is kept waiting for something to come."""


class Told(msgspec.Struct, frozen=True):
    """The answer to `GET /events?after=N`."""

    next: int
    """Ask after this number."""
    arrivals: list[Arrival]
    dropped: int = 0
    """Arrivals that went before anybody read them, since the receiver started."""


ENCODE = msgspec.json.Encoder().encode
DECODE = msgspec.json.Decoder(Told).decode
"""Raises ValueError."""
