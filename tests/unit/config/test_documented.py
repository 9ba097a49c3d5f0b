"""What the pages say of the file is so: the README's example is a configuration."""

import re
from pathlib import Path

from tidegate.config import parse

CHECKOUT = Path(__file__).parents[3]


def test_the_readme_shows_a_configuration() -> None:
    page = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert parse(example).policy.rules
