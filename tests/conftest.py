"""What every test has in common: no task outlives its test, no token is written, property tests are repeatable."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tidegate.testing.registry.tokens import UNSPOKEN

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"still running after the test: {sorted(task.get_name() for task in left)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A token in what a test, or a program that it started, has printed or logged fails the test."""
    report = yield
    if call.when == "teardown" and report.passed and (places := _spoken(item, report)):
        report.outcome = "failed"
        report.longrepr = f"a token was written: {', '.join(places)}"
    return report


def _spoken(item: pytest.Item, report: pytest.TestReport) -> list[str]:
    """Where there is one: captured output and logs, and the log files in the test's folder."""
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    logs = sorted(folder.rglob("*.log")) if isinstance(folder, Path) else []
    return [name for name, text in report.sections if UNSPOKEN in text] + [
        log.name for log in logs if UNSPOKEN in log.read_text(errors="replace")
    ]
