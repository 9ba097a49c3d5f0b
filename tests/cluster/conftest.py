"""A whole real cluster for the stories: two nodes, two registries, and the three programs running in its pods."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the stories share bed.py and install.py, no packages for anyone else

from bed import TESTBED, Cluster, run  # noqa: E402 - after the path is set
from install import install  # noqa: E402

COLD_BUILD_S = 2400
BED = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The bed, up; ended when the session ends, red or green (its logs stay in the cache)."""
    up = run([str(TESTBED / "up"), "--nodes", "2", "--registries", "2"], timeout_s=COLD_BUILD_S)
    assert up.code == 0, up.err
    bed = Cluster(kubeconfig=up.out.strip().splitlines()[-1])
    pytestconfig.stash[BED] = bed
    yield bed
    run([str(TESTBED / "down")])


@pytest.fixture(scope="session")
def tidegate(cluster: Cluster) -> Cluster:
    """The cluster with webhook, controller and agents ready, and the gate armed."""
    install(cluster, (HERE / "manifests" / "config.yaml").read_text())
    return cluster


@pytest.fixture
def step(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tell the story as it goes."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"  · {text}", flush=True)

    return tell


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    cluster = item.config.stash.get(BED, None)
    if report.failed and call.when in {"setup", "call"} and cluster is not None:
        report.sections.append(("the cluster", cluster.evidence()))
    return report
