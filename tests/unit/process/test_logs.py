"""One JSON object a line, whatever is in it."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from tidegate.process import logs
logs.configure()
log = structlog.get_logger()
{body}
"""


def lines(body: str) -> list[dict[str, object]]:
    """What a program writes on standard error; nothing goes elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True, check=True, timeout=30
    )
    assert done.stdout == b""
    return [json.loads(line) for line in done.stderr.decode().splitlines()]


def test_a_line_has_its_event_level_time_and_fields() -> None:
    [line] = lines('log.info("review.decided", uid="u", ms=1.5)')
    assert (line["event"], line["level"], line["uid"], line["ms"]) == ("review.decided", "info", "u", 1.5)
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "expression, expected",
    [
        pytest.param(r"'a\nb'", "a\nb", id="newline"),
        pytest.param(r"'\x1b[31m\0'", "\x1b[31m\0", id="control characters"),
        pytest.param(r"'\ud800x'", "\\ud800x", id="lone surrogate"),
        pytest.param(r"'\u202e'", "\u202e", id="direction override"),
        pytest.param("object", "<class 'object'>", id="what JSON does not know"),
        pytest.param("{'a': [1]}", {"a": [1]}, id="nested"),
        pytest.param("['\\ud800']", "['\\ud800']", id="a lone surrogate, nested"),
        pytest.param("2**70", 2**70, id="a huge number"),
        pytest.param("float('nan')", None, id="no number"),
        pytest.param("{1: 2}", {"1": 2}, id="keys that are no text"),
        pytest.param("{(1, 2): 3}", {"(1, 2)": 3}, id="keys that JSON does not know"),
        pytest.param("(deep := [], deep.append(deep))[0]", "[[...]]", id="what contains itself"),
    ],
)
def test_any_value_stays_on_its_line(expression: str, expected: object) -> None:
    [line] = lines(f'log.info("e", value={expression})')
    assert line["value"] == expected


def test_debug_is_silent_and_a_fault_has_its_traceback_on_one_line() -> None:
    [line] = lines('log.debug("no")\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception("failed")')
    assert (line["event"], line["level"]) == ("failed", "error")
    assert "ZeroDivisionError" in str(line["exception"])
