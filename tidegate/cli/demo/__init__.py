"""`tidegate demo`: both halves of tidegate on the shipped programs, in about a minute, with no cluster and no root."""

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tidegate.cli.demo.programs import ProgramFailed
from tidegate.cli.demo.screen import Screen
from tidegate.cli.demo.story import tell
from tidegate.cli.exits import Exit, Output

_PICTURE_WIDTH = 120
"""Columns."""
_REMOTE_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""A picture asks nobody for a font; any monospace one will do."""


def demo(
    output: Annotated[
        Output, typer.Option("--output", "-o", help="`json` prints the figures and nothing else.")
    ] = Output.TEXT,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, writable=True, help="Save the story as an SVG picture."),
    ] = None,
) -> None:
    """A lagging replica is refused and let in; twelve nodes scale out as a herd, three at once, under one budget."""
    if picture is not None and not picture.parent.is_dir():  # told now, not after a minute
        message = f"there is no folder {picture.parent}"
        raise typer.BadParameter(message, param_hint="--picture")
    console = Console(quiet=output is Output.JSON, highlight=False)
    drawn = Console(record=True, width=_PICTURE_WIDTH, file=io.StringIO(), highlight=False) if picture else None
    try:
        result = asyncio.run(tell(Screen(console, picture=drawn)))
    except ProgramFailed as exc:
        typer.echo(exc, err=True)
        raise typer.Exit(Exit.NO) from exc
    if picture is not None and drawn is not None:
        picture.write_text(_REMOTE_FONTS.sub("", drawn.export_svg(title="tidegate demo")), encoding="utf-8")
    if output is Output.JSON:
        typer.echo(json.dumps(result.as_json()))
    raise typer.Exit(Exit.WELL if result.good else Exit.NO)
