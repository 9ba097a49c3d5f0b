"""The `tidegate` command line."""

import os
from typing import Annotated

import typer

from tidegate import __version__
from tidegate.cli.demo import demo
from tidegate.cli.policies import policies
from tidegate.cli.schema import schema

app = typer.Typer(
    name="tidegate",
    help="Nothing enters the cluster before its image has come in, and nothing floods the registry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(policies)
app.command()(schema)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if wanted:
        typer.echo(f"tidegate {__version__}")
        raise typer.Exit


@app.callback()
def tidegate(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """See the help of each command."""


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log lines would run through the screen
    app()
