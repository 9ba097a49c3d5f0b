"""The story in a terminal: steps as they happen, and twelve nodes as bars that grow side by side."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tidegate.cli.demo.fleet import DemoNode, Fleet, State
from tidegate.cli.demo.result import DemoResult, ScaleOutResult
from tidegate.cli.demo.scene import CUT_OFF_S

_BAR = 22
_REFRESH_S = 0.1
_STYLES = {State.COLD: "dim", State.PULLING: "cyan", State.THROTTLED: "red", State.WARM: "green"}


class Screen:
    """Where the story goes; quiet when nobody watches: no colours, no bars, one line a step."""

    def __init__(self, console: Console, *, picture: Console | None = None) -> None:
        """`picture` gets everything once, the bars as they stand in the end."""
        self._console = console
        self._picture = picture

    def heading(self, text: str) -> None:
        self._show("", Rule(Text(text, "bold"), align="left", style="blue"))

    def told(self, kind: str, text: str) -> None:
        """One step of the story, a denial or an admission."""
        if kind == "step":
            self._show(Text.assemble(("● ", "blue"), text))
        elif kind == "denied":
            self._show(Panel(Text(text), border_style="red", title="refused", title_align="left"))
        else:
            self._show(Text.assemble(("✔ ", "green"), (text, "green")))

    @asynccontextmanager
    async def race(self, fleets: Sequence[Fleet]) -> AsyncIterator[None]:
        """Keep the bars moving while the block runs."""
        if not self._console.is_terminal:
            yield
        else:
            async with self._painted(fleets):
                yield
        if self._picture is not None:
            self._picture.print(_bars(fleets))

    @asynccontextmanager
    async def _painted(self, fleets: Sequence[Fleet]) -> AsyncIterator[None]:
        with Live(_bars(fleets), console=self._console, auto_refresh=False, transient=False) as live:

            async def refresh() -> None:
                while True:
                    live.update(_bars(fleets), refresh=True)
                    await asyncio.sleep(_REFRESH_S)

            painter = asyncio.create_task(refresh())
            try:
                yield
            finally:
                painter.cancel()
                await asyncio.gather(painter, return_exceptions=True)
                live.update(_bars(fleets), refresh=True)

    def summary(self, result: DemoResult) -> None:
        """The table at the end."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("", "nodes warm", "seconds", "429 answered"):
            table.add_column(column, justify="left" if not column else "right")
        rows = (("herd", result.naive), ("three at once", result.fixed), ("tidegate", result.tidegate))
        for title, row in rows:
            table.add_row(title, *_cells(row), style="green" if title == "tidegate" else "")
        table.add_row("nobody can beat", "", f"{result.wire_s:.1f}", "", style="dim")
        self._show("", table)

    def _show(self, *what: RenderableType) -> None:
        for console in (self._console, self._picture):
            if console is not None:
                console.print(*what, sep="\n")


def _cells(row: ScaleOutResult) -> tuple[str, str, str]:
    cut = row.warm < row.nodes
    return f"{row.warm} of {row.nodes}", f"{row.seconds:.1f}{' (cut off)' if cut else ''}", str(row.throttled)


def _bars(fleets: Sequence[Fleet]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for _ in fleets:
        grid.add_column(width=_BAR + 14, no_wrap=True)
    grid.add_row(*(Text(fleet.title, "bold") for fleet in fleets))
    for name in fleets[0].nodes:
        grid.add_row(*(_bar(fleet, fleet.nodes[name]) for fleet in fleets))
    footers = (
        Text.assemble(
            f"{fleet.warm:2} warm  {fleet.seconds:4.1f} s  ",
            (f"{fleet.replica.throttled} × 429", "red" if fleet.replica.throttled else "green"),
        )
        for fleet in fleets
    )
    grid.add_row(*footers)
    return Group(grid)


def _bar(fleet: Fleet, node: DemoNode) -> Text:
    """The bar of a node is the time that it has waited; it turns green when the image is there."""
    share = (node.warm_s if node.warm_s is not None else fleet.seconds) / CUT_OFF_S
    filled = min(_BAR, max(0, round(share * _BAR)))
    words = f"{node.warm_s:4.1f} s" if node.warm_s is not None else (str(node.state) if fleet.began is not None else "")
    style = _STYLES[node.state]
    return Text.assemble(("█" * filled, style), ("·" * (_BAR - filled), "dim"), " ", (words, style))
