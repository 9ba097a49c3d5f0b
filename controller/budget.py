"""The budget of one registry for the whole cluster: requests by a token bucket, and pulls in flight.

Registries throttle requests, so a pull is charged what it costs in requests; bandwidth bears only so many pulls at
once, so those are counted too. Where the registry's limits are is found by trying: both begin where the configuration
says and grow with clean pulls, up to its most. Guarantees, over any history of calls (times never decrease; an earlier
one counts as the latest):

- Never more pulls in flight than `limits.most_in_flight`, and none is granted while `in_flight` >= `limit`.
- Never more request cost granted in any window than what flows in at the rates in force in it plus max(`limits.burst`,
  the largest cost granted in it); so never more than the highest of those rates * its seconds + that.
- `limit` is never below one and never above `limits.most_in_flight`; `rate` is never below its floor and never above
  `limits.most_rate`.
- A throttle of a pull that was granted under the budget as it is halves both; those of older pulls only lengthen the
  pause, so one overload is answered by one step down, however many pulls it hits.
- Nothing is granted in a pause, and a throttle leaves nothing in the bucket: the registry's own was just proved empty.
- A pull that ends cleanly raises both by a step: the limit by one pull, the rate by half of where it started for each
  second that the pull's cost took to flow in, the less the higher it is already (by the square root), and at most to
  twice the rate that the pull was granted under. Near where there was a throttle before it is an eighth of that
  (`controller.climb`).
- Past where they started, only what was used up grows: the limit when all of it was in flight and the pull took less
  than twice as long as the quickest of its kind (else pulls only slow each other down), the rate when the bucket had
  not been full for long.
- Work conserving: `wait` is the exact time after which `grant` says yes if nothing else happens, and infinity only
  while another pull has to end first, of which there is then at least one.

No I/O and no clock: `now` is monotonic seconds, and passed in.
"""

import math
from dataclasses import dataclass
from enum import Enum

from controller.climb import Climb

DEFAULT_PAUSE_S = 1.0
"""After a throttle whose Retry-After is hidden (containerd shows none); doubled while no pull ends cleanly."""
MOST_PAUSE_S = 60.0
FLOOR_SHARE = 1 / 16
"""Of the configured rate: what is always allowed. Where even that is too much, the growing pauses slow it down."""
GROWTH_S = 2.0
"""So many seconds of what was used up, and ended cleanly, raise the rate by as much as it started with, at first."""
TRUSTED = 2.0
"""Times the rate that a clean pull was granted under: what it proves at most."""
SLOWED = 2.0
"""Times as long as the quickest of its kind: then pulls slow each other down."""

_ROUNDING = 1e-6
"""Requests, or seconds, that adding up floats may cost: far below what either is worth."""
_FADING = 1.002
"""What was quickest is forgotten by so much with each pull, as networks change."""
_KINDS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cluster may ask of a registry: `in_flight` pulls at once, `rate` requests a second, `burst` at once.

    Both may grow to `most_in_flight` and `most_rate`; what is less than where they start is where they start.
    """

    in_flight: int
    rate: float
    burst: int
    most_in_flight: int = 0
    most_rate: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "most_in_flight", max(self.in_flight, self.most_in_flight))
        object.__setattr__(self, "most_rate", max(self.rate, self.most_rate))


class Ending(Enum):
    """How a pull ended, as far as a budget cares."""

    CLEAN = "clean"
    OTHER = "other"
    """It failed for a reason that says nothing about the registry's limits, or was never heard of again."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a grant was given under. `used`: whether the bucket gave about all that had flowed into it."""

    at: float
    cost: int
    rate: float
    used: bool
    kind: str


_ADOPTED = _Begun(at=-math.inf, cost=0, rate=0.0, used=False, kind="")


class Budget:
    """See the module. Before `opens_at` nothing is granted, though requests that are no pull's may be sent."""

    def __init__(self, limits: Limits, *, now: float, opens_at: float = -math.inf) -> None:
        self.limits = limits
        self._pulls = Climb(limits.in_flight, most=limits.most_in_flight, floor=1.0)
        self._rate = Climb(limits.rate, most=limits.most_rate, floor=limits.rate * FLOOR_SHARE)
        self._level = float(limits.burst)
        self._spilt = 0.0
        """Requests that flowed in while the bucket was full, since the last grant."""
        self._now = now
        self._opens_at = opens_at
        self._paused_until = -math.inf
        self._stepped_down_at = -math.inf
        self._throttles = 0  # in a row
        self._begun: dict[str, _Begun] = {}
        self._quickest: dict[str, float] = {}

    @property
    def limit(self) -> int:
        """Pulls that may be in flight now."""
        return int(self._pulls.value + _ROUNDING)

    @property
    def rate(self) -> float:
        """Requests per second that flow in now."""
        return self._rate.value

    @property
    def in_flight(self) -> int:
        """Pulls granted and not ended."""
        return len(self._begun)

    def paused_s(self, now: float) -> float:
        """Seconds until a pause ends; 0 when there is none."""
        left = self._paused_until - max(now, self._now)
        return left if left > _ROUNDING else 0.0

    def wait(self, cost: int, now: float) -> float:
        """Seconds until a pull of `cost` requests may be granted: 0 is now, infinity is when another pull has ended."""
        if self.in_flight >= self.limit:
            return math.inf
        refill = self.wait_to_ask(cost, now)
        return max(refill, self._opens_at - self._now)

    def wait_to_ask(self, requests: int, now: float) -> float:
        """Seconds until so many requests that are no pull's may be sent: the controller's own keep to the rate too."""
        self._advance(now)
        lacking = min(requests, self.limits.burst) - self._level
        refill = 0.0 if lacking <= _ROUNDING else lacking / self.rate
        return max(refill, self.paused_s(now))

    def grant(self, pull: str, cost: int, now: float, *, kind: str = "") -> bool:
        """Grant the pull named `pull`, if it may be granted now. It stays in flight until it has ended.

        `kind`: what it pulls, if pulls of that take about the same time on every node.
        """
        if self.wait(cost, now) > 0 or pull in self._begun:
            return False
        self._level -= cost
        self._begun[pull] = _Begun(self._now, cost, self.rate, self._spilt < cost, kind)
        self._spilt = 0.0
        return True

    def adopt(self, pull: str) -> None:
        """Count a pull that was granted before this process began: in flight, its requests long spent."""
        self._begun.setdefault(pull, _ADOPTED)

    def drain(self, now: float) -> None:
        """Begin with nothing: what others granted before is not known, nor what they overdrew."""
        self._advance(now)
        self._level = min(self._level, 0.0)

    def charge(self, requests: int, now: float) -> None:
        """Take requests that are no pull's out of the bucket: what the controller itself asks of the registry."""
        self._advance(now)
        self._level -= requests

    def ended(self, pull: str, ending: Ending, now: float) -> None:
        """A pull has ended; of an unknown name (it ended before) nothing happens."""
        full = self.in_flight >= self.limit
        begun = self._begun.pop(pull, None)
        if begun is None or ending is not Ending.CLEAN:
            return
        self._advance(now)
        slowed = self._is_slowed(begun)
        if begun.at <= self._stepped_down_at:
            return
        self._throttles = 0
        if self._pulls.value < self._pulls.start or (full and not slowed):
            self._pulls.climb(1.0, most=math.inf)
        if self._rate.value < self._rate.start or begun.used:
            start, seconds = self._rate.start, begun.cost / begun.rate
            step = seconds * start / GROWTH_S * math.sqrt(min(1.0, start / begun.rate))
            self._rate.climb(step, most=begun.rate * TRUSTED)

    def throttled(self, now: float, *, pull: str | None = None, retry_after_s: float | None = None) -> None:
        """The registry said 429 to a pull, which ends it, or to the controller itself (None)."""
        self._advance(now)
        if pull is None:
            granted_at = -math.inf if self._now < self._paused_until else self._now
        else:
            granted_at = self._begun.pop(pull, _ADOPTED).at
        if granted_at > self._stepped_down_at:
            self._pulls.halve()
            self._rate.halve()
            self._stepped_down_at = self._now
            self._throttles += 1
        hidden = DEFAULT_PAUSE_S * 2.0 ** min(max(self._throttles - 1, 0), 16)
        self.pause(hidden if retry_after_s is None else retry_after_s, now)
        self._level = min(self._level, 0.0)

    def pause(self, seconds: float, now: float) -> None:
        """Leave the registry alone for so long, at most `MOST_PAUSE_S`; a longer pause stays."""
        self._advance(now)
        self._paused_until = max(self._paused_until, self._now + min(MOST_PAUSE_S, max(0.0, seconds)))

    def _advance(self, now: float) -> None:
        if now <= self._now:
            return
        level = self._level + (now - self._now) * self.rate
        self._level = min(float(self.limits.burst), level)
        self._spilt += level - self._level
        self._now = now

    def _is_slowed(self, begun: _Begun) -> bool:
        """Whether the pull took far longer than others of its kind; takes in how long it took."""
        if begun is _ADOPTED:
            return True
        seconds = self._now - begun.at
        quickest = self._quickest.pop(begun.kind, seconds)  # put back below, as the latest
        if len(self._quickest) >= _KINDS:
            del self._quickest[next(iter(self._quickest))]
        self._quickest[begun.kind] = min(seconds, quickest * _FADING)
        return seconds > SLOWED * quickest
