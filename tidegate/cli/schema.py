"""`tidegate schema`: for editors."""

import typer

from tidegate.config.schema import text


def schema() -> None:
    """Print the JSON schema of the configuration file."""
    typer.echo(text(), nl=False)
