"""What the bench of fleets makes of what it counted."""

import pytest

from bench.fleet.figures import Page, latencies, percentile

PAGE = """# HELP apiserver_request_total …
apiserver_request_total{code="200",resource="nodepulls",subresource="status",verb="PATCH"} 7
apiserver_request_total{code="200",resource="nodepulls",subresource="",verb="PATCH"} 3
apiserver_request_total{code="409",resource="nodepulls",subresource="",verb="PATCH"} 9
apiserver_request_total{code="200",resource="nodepulls",subresource="",verb="GET"} 5
events{kind="a"} 1.5e+01
events{kind="b"} 2
other 1
"""


def test_writes_are_counted_where_they_were_taken() -> None:
    page = Page(PAGE, ("apiserver_request_total", "events"))
    assert page.writes() == {"PATCH nodepulls/status": 7, "PATCH nodepulls": 3}
    assert (page.total("events"), page.total("events", kind="b")) == (17, 2)


def test_a_pull_is_begun_in_the_slot_that_became_free_first() -> None:
    began, ended = [0.0, 0.1, 5.5, 6.25, 9.0], [6.0, 5.0]
    assert latencies(began, ended, slots=2, since=0.0) == [0.5, 0.25]
    assert latencies(began, ended, slots=2, since=5.0) == [0.25]


@pytest.mark.parametrize(
    "values,share,expected",
    [([], 0.99, 0.0), ([3.0], 0.5, 3.0), ([float(n) for n in range(100)], 0.99, 99.0), ([2.0, 1.0], 0.0, 1.0)],
)
def test_percentiles_are_values_that_were_seen(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected
