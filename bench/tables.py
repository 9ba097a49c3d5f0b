"""The page that people read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.run import Round, Row

_HEAD = (
    "| review | bytes | | reviews/s | ours ÷ floor (lowest to highest pair) | CPU s per 1,000 | by CPU | busy "
    "| p50 / p99 ms | registry |"
)


def lines(
    machine: Sequence[str],
    rows: Sequence["Row"],
    rss: Mapping[str, float | None],
    stages: Mapping[str, float] | None,
) -> Iterator[str]:
    """Markdown."""
    yield from machine
    yield ""
    yield _HEAD
    yield "|---" * (_HEAD.count("|") - 1) + "|"
    for row in rows:
        yield _line(row, "floor", row.floor, "", "")
        ratio = f"**{row.ratio:.2f}** ({row.lowest:.2f} to {row.highest:.2f}, {row.pairs} pairs)"
        yield _line(row, "ours", row.ours, ratio, str(row.registry_requests))
    yield ""
    yield f"RSS at the end, MB: floor {_or_dash(rss['floor'], '.0f')}, ours {_or_dash(rss['ours'], '.0f')}"
    if stages:
        yield ""
        yield "| µs of one Pod review, in one process | |"
        yield "|---|---|"
        for stage, micros in stages.items():
            yield f"| {stage} | {micros:.1f} |"


def _line(row: "Row", who: str, figures: "Round", ratio: str, requests: str) -> str:
    by_cpu = f"{row.cpu_ratio:.2f}" if ratio and row.cpu_ratio else ""
    return (
        f"| {row.name if not ratio else ''} | {row.bytes} | {who} | {figures.per_second:,.0f} | {ratio} "
        f"| {_or_dash(figures.cpu_s_per_1000, '.3f')} | {by_cpu} | {_or_dash(figures.busy, '.0%')} "
        f"| {figures.p50_ms:.1f} / {figures.p99_ms:.1f} | {requests} |"
    )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
