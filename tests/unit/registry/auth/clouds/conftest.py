"""The doubles of the clouds, and identities whose every way leads to them."""

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from tidegate.config.registries import AuthConfig
from tidegate.registry.auth.cloud import open_cloud_session
from tidegate.registry.bounds import Timeouts
from tidegate.testing.clouds import AwsDouble, EntraDouble, GoogleDouble, Loopback

NAMES = (
    "login.microsoftonline.com",
    "api.ecr.eu-west-1.amazonaws.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
)
QUICK = Timeouts(total_s=3.0, retry_pause_s=0.0, identity_s=3.0)


class Silence:
    """All that the tests beside this file write, to the log (everything, down to DEBUG) and to the terminal."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog, self._capfd = caplog, capfd
        self._watched: list[list[str]] = [[
            EntraDouble.assertion, AwsDouble.secret_key, AwsDouble.session_token, AwsDouble.agent_token,
        ]]  # fmt: skip
        self.text = ""

    def watch(self, double: Any) -> Any:
        """The double, whose secrets are looked for from now on."""
        self._watched.append(double.made)
        return double

    def heard(self) -> list[str]:
        """The secrets in what was written, with how much that was."""
        out, err = self._capfd.readouterr()
        exceptions = (f"{record.exc_info!r} {record.args!r}" for record in self._caplog.records)
        self.text += "".join((out, err, self._caplog.text, *exceptions))
        return [secret for made in self._watched for secret in made if secret in self.text]


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Silence]:
    caplog.set_level(logging.DEBUG)
    silence = Silence(caplog, capfd)
    yield silence
    assert silence.heard() == []


@pytest.fixture(scope="session")
def cloud_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*NAMES).configure_cert(context)
    return context


@pytest.fixture
async def entra(cloud_tls: ssl.SSLContext, silence: Silence) -> AsyncIterator[EntraDouble]:
    async with EntraDouble(ssl_context=cloud_tls) as double:
        yield silence.watch(double)


@pytest.fixture
async def imds(monkeypatch: pytest.MonkeyPatch, silence: Silence) -> AsyncIterator[EntraDouble]:
    async with EntraDouble() as double:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", double.url)
        yield silence.watch(double)


@pytest.fixture
async def aws(cloud_tls: ssl.SSLContext, silence: Silence) -> AsyncIterator[AwsDouble]:
    async with AwsDouble(ssl_context=cloud_tls) as double:
        yield silence.watch(double)


@pytest.fixture
async def google(cloud_tls: ssl.SSLContext, silence: Silence) -> AsyncIterator[GoogleDouble]:
    async with GoogleDouble(ssl_context=cloud_tls) as double:
        yield silence.watch(double)


@pytest.fixture
async def metadata(silence: Silence) -> AsyncIterator[GoogleDouble]:
    async with GoogleDouble() as double:
        yield silence.watch(double)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No identity of this machine comes into play."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST",
                 "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE",
                 "AWS_ROLE_ARN", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Pod's environment with a workload identity, and its projected token."""
    token = tmp_path / "azure-identity-token"
    token.write_text(EntraDouble.assertion)
    monkeypatch.setenv("AZURE_CLIENT_ID", EntraDouble.client)
    monkeypatch.setenv("AZURE_TENANT_ID", EntraDouble.tenant)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    return token


@pytest.fixture
def rotate(workload: Path) -> Callable[[str], object]:
    """The kubelet writes another projected token."""
    return workload.write_text


@pytest.fixture
async def session(ca: trustme.CA) -> AsyncIterator[Callable[..., aiohttp.ClientSession]]:
    """`session({name: double})` → a session to which only these names exist."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with AsyncExitStack() as stack:

        def make(services: dict[str, Any], timeouts: Timeouts = QUICK) -> aiohttp.ClientSession:
            resolver = Loopback({name: double.port for name, double in services.items()})
            made = open_cloud_session(timeouts, resolver.connector(context))
            stack.push_async_callback(made.close)
            return made

        yield make


@pytest.fixture
def azure_auth() -> Callable[..., AuthConfig]:
    return lambda **fields: AuthConfig.model_validate({"azure": fields})
