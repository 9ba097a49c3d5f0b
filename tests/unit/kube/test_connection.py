"""Where the API server is and who we are, from a Pod's mount and from kubeconfig files."""

import asyncio
import base64
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import ConnectionConfigError, from_kubeconfig, in_cluster
from tidegate.kube.errors import Unavailable
from tidegate.kube.resources import NAMESPACES
from tidegate.testing.apiserver import ApiServerDouble

EXEC = "client.authentication.k8s.io/v1"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def account(tmp_path: Path, ca: trustme.CA) -> Path:
    """A mounted service account."""
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("first\n")
    return tmp_path


@pytest.fixture
def tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def works(connection: Any) -> bool:
    async with KubeClient(connection) as client:
        return (await client.get(NAMESPACES, "default")).metadata.name == "default"


async def test_a_pod_finds_its_way(account: Path, tls: ssl.SSLContext) -> None:
    async with ApiServerDouble(tls=tls, token="first") as api:
        host, port = api.url.removeprefix("https://").rsplit(":", 1)

        assert await works(in_cluster(host=host, port=port, directory=account))


async def test_a_pod_trusts_its_clusters_authority_alone(account: Path, tls: ssl.SSLContext) -> None:
    trustme.CA().cert_pem.write_to_path(account / "ca.crt")
    async with ApiServerDouble(tls=tls, token="first") as api:
        port = api.url.rsplit(":", 1)[1]
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await works(in_cluster(host="127.0.0.1", port=port, directory=account))


def test_an_ipv6_service_address_is_bracketed(account: Path) -> None:
    assert in_cluster(host="fd00::1", port=443, directory=account).base_url == "https://[fd00::1]:443"


async def test_the_token_is_read_again_once_a_minute(account: Path) -> None:
    clock = Clock()
    connection = in_cluster(host="h", port=1, directory=account, clock=clock)
    (account / "token").write_text("second")

    clock.at = 59.0
    assert await connection.token() == "Bearer first"
    clock.at = 60.0
    assert await asyncio.gather(connection.token(), connection.token()) == ["Bearer second"] * 2


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda token: token.unlink(), id="gone"),
        pytest.param(lambda token: token.write_text(" \n"), id="empty"),
        pytest.param(lambda token: token.write_bytes(b"\xff\xfe"), id="no text"),
    ],
)
async def test_a_token_that_cannot_be_read_leaves_the_last_one(account: Path, spoil: Callable[[Path], Any]) -> None:
    clock = Clock()
    connection = in_cluster(host="h", port=1, directory=account, clock=clock)
    spoil(account / "token")
    clock.at = 61.0

    assert await connection.token() == "Bearer first"

    (account / "token").write_text("back")
    clock.at = 122.0
    assert await connection.token() == "Bearer back"


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_half_a_service_account_is_none(account: Path, missing: str) -> None:
    (account / missing).unlink()

    with pytest.raises(ConnectionConfigError, match="no usable service account"):
        in_cluster(host="h", port=1, directory=account)


def kubeconfig(path: Path, *, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "other", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster}, {"name": "other", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_the_doubles_own_kubeconfig_works(tmp_path: Path, tls: ssl.SSLContext, ca: trustme.CA) -> None:
    async with ApiServerDouble(tls=tls, token="t", ca_pem=ca.cert_pem.bytes()) as api:
        assert await works(from_kubeconfig(api.kubeconfig(tmp_path / "config")))


async def test_a_client_certificate_is_shown(tmp_path: Path, tls: ssl.SSLContext, ca: trustme.CA) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(tls)
    issued = ca.issue_cert("me@example.com")
    inline = {
        "client-certificate-data": inlined(b"".join(part.bytes() for part in issued.cert_chain_pems)),
        "client-key-data": inlined(issued.private_key_pem.bytes()),
    }
    async with ApiServerDouble(tls=tls) as api:
        cluster = {"server": api.url, "certificate-authority-data": inlined(ca.cert_pem.bytes())}

        assert await works(from_kubeconfig(kubeconfig(tmp_path / "with", cluster=cluster, user=inline)))
        with pytest.raises(Unavailable):
            await works(from_kubeconfig(kubeconfig(tmp_path / "without", cluster=cluster, user={})))


@pytest.mark.parametrize("insecure", [True, False])
async def test_verification_is_skipped_only_when_asked(tmp_path: Path, tls: ssl.SSLContext, insecure: bool) -> None:  # noqa: FBT001  a row
    async with ApiServerDouble(tls=tls) as api:
        cluster = {"server": api.url, "insecure-skip-tls-verify": insecure}
        connection = from_kubeconfig(kubeconfig(tmp_path / "config", cluster=cluster, user={}))
        if insecure:
            assert await works(connection)
        else:
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await works(connection)


async def test_a_server_may_be_known_by_another_name(tmp_path: Path, ca: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("api.example.com").configure_cert(context)
    async with ApiServerDouble(tls=context) as api:
        cluster = {"server": api.url, "certificate-authority-data": inlined(ca.cert_pem.bytes())}
        with pytest.raises(Unavailable, match="certificate"):
            await works(from_kubeconfig(kubeconfig(tmp_path / "a", cluster=cluster, user={})))

        cluster["tls-server-name"] = "api.example.com"
        assert await works(from_kubeconfig(kubeconfig(tmp_path / "b", cluster=cluster, user={})))


async def test_an_exec_plugin_is_run_again_when_its_token_has_expired(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "runs = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(runs))\n"
        "status = {'token': f't{runs}', 'expirationTimestamp': '2020-01-01T00:00:00Z'}\n"
        f"answer = {{'apiVersion': {EXEC!r}, 'kind': 'ExecCredential', 'status': status}}\n"
        "print(json.dumps(answer))\n"
    )
    run = {"apiVersion": EXEC, "command": sys.executable, "args": [str(plugin)]}
    cluster = {"server": "http://127.0.0.1:9"}
    clock = Clock()

    connection = from_kubeconfig(kubeconfig(tmp_path / "config", cluster=cluster, user={"exec": run}), clock=clock)

    assert await connection.token() == "Bearer t1"
    clock.at = 61.0
    assert await connection.token() == "Bearer t2"


async def test_basic_credentials_are_sent(tmp_path: Path) -> None:
    user = {"username": "me", "password": "secret"}
    connection = from_kubeconfig(kubeconfig(tmp_path / "config", cluster={"server": "http://127.0.0.1:9"}, user=user))

    assert await connection.token() == "Basic " + inlined(b"me:secret")


def test_a_context_can_be_chosen(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", cluster={"server": "http://127.0.0.1:8/"}, user={})

    assert from_kubeconfig(path).base_url == "http://127.0.0.1:8"
    assert from_kubeconfig(path, context="two").base_url == "http://127.0.0.1:9"
    with pytest.raises(ConnectionConfigError, match="three"):
        from_kubeconfig(path, context="three")


@pytest.mark.parametrize(
    "text",
    ["", "7", "[]", "a: b", "{", "current-context: x", "apiVersion: v1\nclusters: 7\ncurrent-context: a\ncontexts: []"],
)
def test_what_is_no_kubeconfig_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(ConnectionConfigError, match="config: not a usable kubeconfig") as caught:
        from_kubeconfig(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_kubeconfig_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConnectionConfigError, match="nowhere: No such file or directory"):
        from_kubeconfig(tmp_path / "nowhere")
    with pytest.raises(ConnectionConfigError, match="Is a directory"):
        from_kubeconfig(tmp_path)


def test_a_kubeconfig_is_never_written(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", cluster={"server": "http://127.0.0.1:8"}, user={"token": "t"})
    before = path.read_bytes()
    path.chmod(0o400)

    from_kubeconfig(path)

    assert path.read_bytes() == before


def inlined(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
