"""A whole real cluster for the stories: two nodes, two registries, and the three programs running in its pods."""

import base64
import json
import string
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the stories share bed.py, which is no package for anyone else

from bed import CHECKOUT, TESTBED, Cluster, run  # noqa: E402 - after the path is set

from tidegate.admission import webhook_configurations  # noqa: E402
from tidegate.config import load  # noqa: E402
from tidegate.config.policy import compile_policy  # noqa: E402

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
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: tidegate}\n")
    cluster.kubectl(
        "apply",
        "-f",
        str(CHECKOUT / "manifests" / "crds"),
        "-f",
        str(CHECKOUT / "manifests" / "rbac.yaml"),
        "-f",
        str(CHECKOUT / "manifests" / "gates.yaml"),
    )
    cluster.kubectl(
        "wait",
        "--for=condition=Established",
        "--timeout=20s",
        "crd/prepulls.tidegate.dev",
        "crd/nodepulls.tidegate.dev",
        "crd/imageavailabilities.tidegate.dev",
    )
    config = HERE / "manifests" / "config.yaml"
    made = cluster.kubectl(
        "create",
        "configmap",
        "tidegate",
        "-n",
        "tidegate",
        f"--from-file=config.yaml={config}",
        "-o",
        "yaml",
        "--dry-run=client",
    )
    cluster.apply(made.out)
    authority = certificate(cluster)
    folders = {"checkout": str(CHECKOUT), "venv": sys.prefix, "python": str(Path(sys.base_prefix).resolve())}
    cluster.apply(programs(folders))
    for what in ("deployment/tidegate-webhook", "deployment/tidegate-controller", "daemonset/tidegate-agent"):
        cluster.kubectl("rollout", "status", "-n", "tidegate", what, "--timeout=90s", timeout_s=120)
    loaded = load(config)
    for gate in webhook_configurations(compile_policy(loaded.policy).base.mode, own="tidegate", authority=authority):
        cluster.apply(json.dumps(gate))
    return cluster


def programs(folders: dict[str, str]) -> str:
    text = string.Template((HERE / "manifests" / "programs.yaml").read_text()).substitute(folders)
    if folders["python"] == "/usr":  # Debian's own interpreter comes with /usr
        text = "\n".join(line for line in text.splitlines() if "name: python," not in line)
    return text


def certificate(cluster: Cluster) -> str:
    """Issue the webhook's certificate (ECDSA), store it, and return the CA as the API server wants it."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = authority.issue_cert("tidegate-webhook.tidegate.svc", key_type=trustme.KeyType.ECDSA)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    cluster.apply(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n"
        "metadata: {name: tidegate-webhook-tls, namespace: tidegate}\n"
        f"data:\n  tls.crt: {base64.b64encode(chain).decode()}\n"
        f"  tls.key: {base64.b64encode(leaf.private_key_pem.bytes()).decode()}\n"
    )
    return base64.b64encode(authority.cert_pem.bytes()).decode()


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
