"""The budget of one registry for the whole cluster: requests by a token bucket, and pulls in flight.

Registries throttle requests, so a pull is charged what it costs in requests; bandwidth bears only so many pulls at
once, so those are counted too. Guarantees, over any history of calls (times never decrease; an earlier one counts as
the latest):

- Never more pulls in flight than `limits.in_flight`, and none is granted while `in_flight` >= `limit`.
- Never more request cost granted in any window of w seconds than `limits.rate` * w + max(`limits.burst`, the largest
  cost granted in it).
- `limit` is never below one and never above `limits.in_flight`; `rate` is never below its floor and never
  above `limits.rate`.
- A throttle of a pull that was granted under the budget as it is halves both; those of older pulls only lengthen the
  pause, so one overload is answered by one step down, however many pulls it hits.
- Nothing is granted in a pause, and a throttle leaves nothing in the bucket: the registry's own was just proved empty.
- A pull that ends cleanly raises both by a step, back to where they started and not beyond.
- Work conserving: `wait` is the exact time after which `grant` says yes if nothing else happens, and infinity only
  while another pull has to end first, of which there is then at least one.

No I/O and no clock: `now` is monotonic seconds, and passed in.
"""

import math
from dataclasses import dataclass
from enum import Enum

DEFAULT_PAUSE_S = 1.0
"""After a throttle whose Retry-After is hidden (containerd shows none); doubled while no pull ends cleanly."""
MOST_PAUSE_S = 60.0
FLOOR_SHARE = 1 / 16
"""Of the configured rate: what is always allowed. Where even that is too much, the growing pauses slow it down."""
STEPS_BACK = 8
"""So many clean pulls bring a halved rate back to where it started."""

_ROUNDING = 1e-6
"""Requests, or seconds, that adding up floats may cost: far below what either is worth."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cluster may ask of a registry: `in_flight` pulls at once, `rate` requests a second, `burst` at once."""

    in_flight: int
    rate: float
    burst: int


class Ending(Enum):
    """How a pull ended, as far as a budget cares."""

    CLEAN = "clean"
    OTHER = "other"
    """It failed for a reason that says nothing about the registry's limits, or was never heard of again."""


class Budget:
    """See the module. Before `opens_at` nothing is granted, though requests that are no pull's may be sent."""

    def __init__(self, limits: Limits, *, now: float, opens_at: float = -math.inf) -> None:
        self.limits = limits
        self._floor = limits.rate * FLOOR_SHARE
        self._limit = limits.in_flight
        self._rate = limits.rate
        self._level = float(limits.burst)
        self._now = now
        self._opens_at = opens_at
        self._paused_until = -math.inf
        self._stepped_down_at = -math.inf
        self._throttles = 0  # in a row
        self._granted_at: dict[str, float] = {}

    @property
    def limit(self) -> int:
        """Pulls that may be in flight now."""
        return self._limit

    @property
    def rate(self) -> float:
        """Requests per second that flow in now."""
        return self._rate

    @property
    def in_flight(self) -> int:
        """Pulls granted and not ended."""
        return len(self._granted_at)

    def paused_s(self, now: float) -> float:
        """Seconds until a pause ends; 0 when there is none."""
        left = self._paused_until - max(now, self._now)
        return left if left > _ROUNDING else 0.0

    def wait(self, cost: int, now: float) -> float:
        """Seconds until a pull of `cost` requests may be granted: 0 is now, infinity is when another pull has ended."""
        if self.in_flight >= self._limit:
            return math.inf
        refill = self.wait_to_ask(cost, now)
        return max(refill, self._opens_at - self._now)

    def wait_to_ask(self, requests: int, now: float) -> float:
        """Seconds until so many requests that are no pull's may be sent: the controller's own keep to the rate too."""
        self._advance(now)
        lacking = min(requests, self.limits.burst) - self._level
        refill = 0.0 if lacking <= _ROUNDING else lacking / self._rate
        return max(refill, self.paused_s(now))

    def grant(self, pull: str, cost: int, now: float) -> bool:
        """Grant the pull named `pull`, if it may be granted now. It stays in flight until it has ended."""
        if self.wait(cost, now) > 0 or pull in self._granted_at:
            return False
        self._level -= cost
        self._granted_at[pull] = self._now
        return True

    def adopt(self, pull: str) -> None:
        """Count a pull that was granted before this process began: in flight, its requests long spent."""
        self._granted_at.setdefault(pull, -math.inf)

    def drain(self, now: float) -> None:
        """Begin with nothing: what others granted before is not known."""
        self._advance(now)
        self._level = min(self._level, 0.0)

    def charge(self, requests: int, now: float) -> None:
        """Take requests that are no pull's out of the bucket: what the controller itself asks of the registry."""
        self._advance(now)
        self._level -= requests

    def ended(self, pull: str, ending: Ending, now: float) -> None:
        """A pull has ended; of an unknown name (it ended before) nothing happens."""
        granted_at = self._granted_at.pop(pull, None)
        if granted_at is None or ending is not Ending.CLEAN:
            return
        self._advance(now)
        if granted_at > self._stepped_down_at:
            self._throttles = 0
            self._limit = min(self.limits.in_flight, self._limit + 1)
            self._rate = min(self.limits.rate, self._rate + self.limits.rate / (2 * STEPS_BACK))

    def throttled(self, now: float, *, pull: str | None = None, retry_after_s: float | None = None) -> None:
        """The registry said 429 to a pull, which ends it, or to the controller itself (None)."""
        self._advance(now)
        if pull is None:
            granted_at = -math.inf if self._now < self._paused_until else self._now
        else:
            granted_at = self._granted_at.pop(pull, -math.inf)
        if granted_at > self._stepped_down_at:
            self._limit = max(1, self._limit // 2)
            self._rate = max(self._floor, self._rate / 2)
            self._stepped_down_at = self._now
            self._throttles += 1
        hidden = DEFAULT_PAUSE_S * 2.0 ** min(max(self._throttles - 1, 0), 16)
        pause = hidden if retry_after_s is None else max(0.0, retry_after_s)
        self._paused_until = max(self._paused_until, self._now + min(MOST_PAUSE_S, pause))
        self._level = min(self._level, 0.0)

    def _advance(self, now: float) -> None:
        if now > self._now:
            self._level = min(float(self.limits.burst), self._level + (now - self._now) * self._rate)
            self._now = now
