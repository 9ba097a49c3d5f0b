"""One registry follows another, late: the lag that the gate exists for."""

import asyncio
from dataclasses import dataclass

from tidegate.testing.registry.storage import Arrival, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Seconds from an arrival at the source until the follower has it; None: not before `catch_up`.

    Manifests usually travel before the blobs they name, which is what makes a replica incomplete.
    """

    manifests_s: float | None = 0.0
    blobs_s: float | None = 0.0

    def of(self, arrival: Arrival) -> float | None:
        """The lag of one arrival."""
        return self.manifests_s if arrival.media_type else self.blobs_s


class Replication:
    """Carries every arrival of `source` to `target`, each after the lag of its kind. Losses do not travel."""

    def __init__(self, source: Storage, target: Storage, *, lag: Lag) -> None:
        self.lag = lag
        """May be replaced at any time; it is asked when something arrives at the source."""
        self._source, self._target = source, target
        self._waiting: dict[Arrival, asyncio.TimerHandle | None] = {}
        for arrival in tuple(source.everything()):
            self._schedule(arrival)
        source.listeners.append(self._schedule)

    @property
    def waiting(self) -> tuple[Arrival, ...]:
        """What the source has and the target will have later."""
        return tuple(self._waiting)

    def catch_up(self, repository: str | None = None) -> None:
        """Everything that waits (for one repository) is here at once."""
        for arrival in self.waiting:
            if repository in {None, arrival.repository}:
                self._arrive(arrival)

    def stop(self) -> None:
        """Nothing arrives any more; what waits is forgotten."""
        if self._schedule in self._source.listeners:
            self._source.listeners.remove(self._schedule)
        for timer in self._waiting.values():
            if timer is not None:
                timer.cancel()
        self._waiting.clear()

    def _schedule(self, arrival: Arrival) -> None:
        if (timer := self._waiting.pop(arrival, None)) is not None:
            timer.cancel()
        lag = self.lag.of(arrival)
        if lag is None:
            self._waiting[arrival] = None
        elif lag <= 0:
            self._target.take(arrival, self._source)
        else:
            self._waiting[arrival] = asyncio.get_running_loop().call_later(lag, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        if (timer := self._waiting.pop(arrival, None)) is not None:
            timer.cancel()
        self._target.take(arrival, self._source)
