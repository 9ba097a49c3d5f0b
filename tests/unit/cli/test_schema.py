"""`tidegate schema` prints what is shipped, and nothing else."""

from typer.testing import CliRunner

from tidegate.cli.main import app
from tidegate.config.schema import SHIPPED


def test_it_prints_the_schema() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert result.stdout == SHIPPED.read_text(encoding="utf-8")
