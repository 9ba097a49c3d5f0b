"""The page that people read."""

from collections.abc import Callable, Iterator, Sequence

from bench.fleet.figures import percentile
from bench.fleet.run import Figures

_MB = 1e6


def lines(measured: Sequence[Figures]) -> Iterator[str]:
    """Markdown, a column for each size."""
    yield "| | " + " | ".join(f"{each.size.nodes:,} nodes" for each in measured) + " |"
    yield "|---" * (len(measured) + 1) + "|"
    for name, tell in _ROWS:
        yield f"| {name} | " + " | ".join(tell(each) for each in measured) + " |"
    for each in measured:
        yield ""
        yield f"Writes in the window at {each.size.nodes:,} nodes, a pull:"
        counted = each.end.writes - each.full.writes
        for what, count in counted.most_common():
            yield f"- {what}: {count:,} ({count / max(each.in_window, 1):.3f})"


def _used(who: str) -> Callable[[Figures], str]:
    def tell(f: Figures) -> str:
        spent = f.end.cpu_s[who] - f.full.cpu_s[who]
        busy = spent / (f.end.at - f.full.at)
        return f"{busy:.0%} of a core, {1000 * spent / max(f.in_window, 1):.1f} ms a pull"

    return tell


def _ms(share: float) -> Callable[[Figures], str]:
    return lambda f: f"{1000 * percentile(f.latencies, share):.0f}"


def _writes(f: Figures) -> str:
    counted = f.end.writes - f.full.writes
    pulls = max(f.in_window, 1)
    own = sum(count for what, count in counted.items() if "nodepulls" in what)
    return f"{own / pulls:.2f}; with all others {counted.total() / pulls:.2f}"


def _setup(f: Figures) -> str:
    return f"{(f.full.writes - f.empty.writes).total() / f.size.nodes:.2f}"


def _traffic(f: Figures) -> str:
    events = sum(f.end.events.values()) - sum(f.full.events.values())
    size = sum(f.end.event_bytes.values()) - sum(f.full.event_bytes.values())
    pulls = max(f.in_window, 1)
    return f"{events / pulls:.2f} events, {size / pulls / 1000:.1f} kB"


def _etcd(f: Figures) -> str:
    return f"{f.empty.db_bytes / _MB:.0f}, {f.full.db_bytes / _MB:.0f}, {f.end.db_bytes / _MB:.0f} MB"


def _rate(f: Figures) -> str:
    return f"{f.in_window / (f.end.at - f.full.at):.1f}"


_ROWS: Sequence[tuple[str, Callable[[Figures], str]]] = (
    ("pulls at once allowed; a pull takes", lambda f: f"{f.size.in_flight:,}; {f.size.pull_s:g} s ± a quarter"),
    ("NodePulls made after the controller's start, s", lambda f: f"{f.known_s:.1f}"),
    ("all planned after the PrePull, s", lambda f: f"{f.plan_s:.1f}"),
    ("of that, controller CPU s", lambda f: f"{f.full.cpu_s['controller'] - f.empty.cpu_s['controller']:.1f}"),
    ("window, s; pulls in it; a second", lambda f: f"{f.end.at - f.full.at:.0f}; {f.in_window:,}; {_rate(f)}"),
    ("API writes of NodePulls, a pull", _writes),
    ("API writes a node, to plan for it", _setup),
    ("watch traffic a pull, all watchers", _traffic),
    ("grant latency p50, ms", _ms(0.5)),
    ("grant latency p99, ms", _ms(0.99)),
    ("grant latency, the longest, ms", lambda f: f"{1000 * max(f.latencies, default=0.0):.0f}"),
    ("controller, CPU", _used("controller")),
    ("kube-apiserver, CPU", _used("kube-apiserver")),
    ("etcd, CPU", _used("etcd")),
    ("controller, RSS at the end", lambda f: f"{f.end.rss_mb['controller']:.0f} MB"),
    ("kube-apiserver, RSS at the end", lambda f: f"{f.end.rss_mb['kube-apiserver']:.0f} MB"),
    ("etcd's file: before the plan, after it, at the end", _etcd),
    ("pulls in all; nodes with everything", lambda f: f"{f.pulls:,}; {f.ready:,}"),
)
