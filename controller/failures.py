"""What the reason of a failed pull means: how long until the next try, and its name in the metrics. Pure."""

from collections.abc import Mapping

from tidegate.kube.own import Reason

_BACK_OFF: Mapping[Reason, tuple[float, float]] = {
    Reason.NOT_FOUND: (30.0, 600.0),
    Reason.UNAUTHORIZED: (30.0, 600.0),
    Reason.NO_SPACE: (60.0, 600.0),
    Reason.THROTTLED: (0.0, 0.0),
}
_OTHER_BACK_OFF = (2.0, 300.0)
"""Seconds after the first failure, doubled with each, and the cap. A throttled pull waits with its registry instead."""
_MOST_DOUBLINGS = 32

_RESULTS: Mapping[Reason, str] = {
    Reason.UNAUTHORIZED: "unauthorized",
    Reason.NOT_FOUND: "not-found",
    Reason.NO_SPACE: "no-space",
    Reason.CANCELED: "canceled",
}


def pause_s(reason: Reason, failures: int) -> float:
    """Seconds until the next try, after so many failures before this one; jitter is the caller's."""
    first, most = _BACK_OFF.get(reason, _OTHER_BACK_OFF)
    return min(most, first * 2.0 ** min(failures, _MOST_DOUBLINGS))


def result_of(reason: Reason) -> str:
    """The result that a pull which failed for this reason is counted under."""
    return _RESULTS.get(reason, "other")
