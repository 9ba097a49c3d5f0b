"""A refusal says since when the replica lacks the image, where somebody has been looking."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.findings import Finding

SINCE = datetime(2026, 11, 25, 3, 50, tzinfo=UTC)


@pytest.mark.parametrize("finding", [Finding.ABSENT, Finding.INCOMPLETE, Finding.MISMATCH])
async def test_it_says_since_when(webhook: Any, make: Any, finding: Finding) -> None:
    webhook.checker.replica["app"] = finding
    webhook.ran.lacking[finding] = SINCE
    refused = (await webhook.judge(make.review(make.pod(make.pinned("app"))))).response
    assert not refused["allowed"]
    assert "(since 2026-11-25 03:50 UTC)" in refused["status"]["message"]


async def test_it_says_nothing_where_nobody_knows(webhook: Any, make: Any) -> None:
    webhook.checker.replica["app"] = Finding.ABSENT
    refused = (await webhook.judge(make.review(make.pod(make.pinned("app"))))).response
    assert "since" not in refused["status"]["message"]
