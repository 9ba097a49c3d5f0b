"""What a pull takes, and a grant of one from its giving to its end. Pure."""

from dataclasses import dataclass

START_S = 60.0
"""The agent may begin this long after the grant: a slow watch, a clock that is a little off, or a restart fit in."""
LATE_S = 5.0
"""How late a status may arrive after what it tells."""
LEAST_S = 60.0
SLOWEST = 1_000_000.0
"""Bytes per second of a pull that is still worth waiting for."""
MOST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one pull takes on a node that has nothing: requests to the registry, compressed bytes (0: unknown)."""

    requests: int
    bytes: int
    blobs: frozenset[str] = frozenset()
    """Digests of what is fetched by a request each, and not fetched by a node that has it from another image."""

    platforms: frozenset[str] = frozenset()
    """Of the cluster's, those that the image is for; empty: unknown, so any."""

    @property
    def seconds(self) -> float:
        """How long a pull may take: generous, since an agent sees a stall long before."""
        return min(MOST_S, LEAST_S + self.bytes / SLOWEST)


@dataclass(slots=True, eq=False)
class Granted:
    """A grant that is in flight. `deadline`: when nobody can be pulling under it any more."""

    id: str
    node: str
    image: str
    host: str
    seconds: float
    at: float
    deadline: float
    waited_s: float = 0.0
    begun: bool = False
    expires_at: str = ""
    """`START_S` after the grant, as it is written: RFC 3339, filled in by whoever knows the time of day."""


THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Ended:
    """`result`: `clean`, `found` (there without a pull), the agent's reason (`throttled`, …), `expired`, or `gone`."""

    granted: Granted
    result: str
    seconds: float
    retry_after_s: float | None = None
    """Of a throttle, where the agent was told."""
