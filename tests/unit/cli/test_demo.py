"""The demo around its story: figures, exit codes, programs that fail, and silence where nobody watches."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tidegate import __version__
from tidegate.cli.demo.programs import ProgramFailed, program
from tidegate.cli.demo.result import DemoResult, GateResult, ScaleOutResult
from tidegate.cli.demo.scene import BURST, NODES, PULL_COST, REQUESTS_PER_SECOND, heavy_image, wire_s
from tidegate.cli.demo.screen import Screen
from tidegate.findings import Finding

GATE = GateResult(before=Finding.INCOMPLETE, after=Finding.OK, held_s=3.0)
GOOD = ScaleOutResult(warm=12, nodes=12, seconds=9.0, throttled=0)
FLOODED = ScaleOutResult(warm=3, nodes=12, seconds=20.0, throttled=216)


def result(*, gate: GateResult = GATE, tidegate: ScaleOutResult = GOOD) -> DemoResult:
    return DemoResult(gate, FLOODED, FLOODED, tidegate, 8.5)


def test_the_json_has_the_promised_shape() -> None:
    row = {"warm": 3, "nodes": 12, "seconds": 20.0, "throttled": 216}
    assert json.loads(json.dumps(result().as_json())) == {
        "gate": {"before": "incomplete", "after": "ok", "held_s": 3.0},
        "scaleOut": {
            "naive": row,
            "fixed": row,
            "tidegate": {"warm": 12, "nodes": 12, "seconds": 9.0, "throttled": 0},
            "wire_s": 8.5,
        },
    }


@pytest.mark.parametrize(
    "shown, good",
    [
        pytest.param(result(), True, id="as-promised"),
        pytest.param(result(gate=GateResult(Finding.OK, Finding.OK, 0.0)), False, id="never-refused"),
        pytest.param(result(gate=GateResult(Finding.ABSENT, Finding.DEADLINE, 9.0)), False, id="never-let-in"),
        pytest.param(result(tidegate=ScaleOutResult(11, 12, 60.0, 0)), False, id="one-node-cold"),
        pytest.param(result(tidegate=ScaleOutResult(12, 12, 9.0, 1)), False, id="one-429"),
    ],
)
def test_it_is_good_only_if_the_gate_moved_and_nothing_flooded(shown: DemoResult, good: bool) -> None:  # noqa: FBT001
    assert shown.good is good


def test_what_nobody_can_beat_is_the_limit_of_requests_here() -> None:
    assert wire_s(heavy_image()) == (len(NODES) * PULL_COST - BURST) / REQUESTS_PER_SECOND == 8.5


def test_no_escape_codes_where_nobody_watches() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, highlight=False))
    screen.heading("the gate")
    screen.told("denied", "admission webhook denied the request")
    screen.summary(result())
    assert "\x1b" not in out.getvalue()
    assert "12 of 12" in out.getvalue()


async def test_a_program_that_ends_too_soon_shows_the_end_of_its_log(tmp_path: Path) -> None:
    async with program("webhook", "--config", "nowhere.yaml", name="webhook", folder=tmp_path) as running:
        with pytest.raises(ProgramFailed, match="webhook ended with code 2 before: it is ready") as caught:
            await running.until("it is ready", _never, within_s=30)
    assert "--tls-cert" in str(caught.value)


async def test_a_program_is_ended_with_its_block(tmp_path: Path) -> None:
    async with program("http.server", "0", "--bind", "127.0.0.1", name="server", folder=tmp_path) as running:
        with pytest.raises(ProgramFailed, match=r"server not after 0\.2 s: never"):
            await running.until("never", _never, within_s=0.2)
    assert running.returncode is not None


async def _never() -> bool:
    return False


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        pytest.param(["--version"], 0, f"tidegate {__version__}", id="version"),
        pytest.param(["--help"], 0, "demo", id="help"),
        pytest.param(["demo", "--output", "xml"], 2, "xml", id="unknown-output"),
        pytest.param(["drown"], 2, "drown", id="unknown-command"),
        pytest.param(["demo", "--picture", "/none/p.svg"], 2, "no folder /none", id="nowhere-to-draw"),
    ],
)
def test_the_command_line_ends_as_promised(arguments: list[str], code: int, words: str) -> None:
    call = "from tidegate.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", call, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
