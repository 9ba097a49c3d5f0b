"""What was counted, and what follows from it. Pure."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metrics page."""

    labels: Mapping[str, str]
    value: float


class Page:
    """A metrics page in Prometheus' text form, of the families that are asked for."""

    def __init__(self, text: str, families: Sequence[str]) -> None:
        self._samples: dict[str, list[Sample]] = {name: [] for name in families}
        for line in text.splitlines():
            if (found := _SAMPLE.match(line)) and found[1] in self._samples:
                labels = dict(_LABEL.findall(found[2] or ""))
                self._samples[found[1]].append(Sample(labels, float(found[3])))

    def total(self, family: str, **labels: str) -> float:
        """The sum of all samples with these labels."""
        return sum(s.value for s in self._samples[family] if labels.items() <= s.labels.items())

    def writes(self) -> Counter[str]:
        """Requests that wrote and were taken, by verb and resource."""
        counted: Counter[str] = Counter()
        for sample in self._samples["apiserver_request_total"]:
            labels = sample.labels
            if labels["verb"] in _WRITES and labels["code"].startswith("2"):
                below = f"/{labels['subresource']}" if labels["subresource"] else ""
                counted[f"{labels['verb']} {labels['resource']}{below}"] += int(sample.value)
        return counted


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def latencies(began: Sequence[float], ended: Sequence[float], *, slots: int, since: float) -> list[float]:
    """Seconds from a slot's being free to the beginning of the pull that takes it, of what was freed after `since`.

    With all slots in use, and nodes that wait for them, the pull that begins as number `slots` + n can only have been
    granted because n pulls had ended. So this holds the whole way: the status written and seen, the grant decided,
    written, and seen by the agent.
    """
    starts, ends = sorted(began), sorted(ended)
    first = bisect_right(ends, since)
    return [start - end for start, end in list(zip(starts[slots:], ends, strict=False))[first:]]


def longest_gap(moments: Sequence[float]) -> float:
    """Between one and the next."""
    return max((later - earlier for earlier, later in pairwise(sorted(moments))), default=0.0)
