"""Token services of clouds that lie: every answer of the table to every service, and none hangs or leads astray."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.config.registries import ArtifactRegistryAuth, AzureAuth
from tidegate.registry.auth import artifact_registry, azure, ecr
from tidegate.registry.auth.cloud import Identity, Kept
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.bounds import Timeouts
from tidegate.testing.clouds import AwsDouble, EntraDouble, TokenService
from tidegate.testing.registry.wire import Breakage, Reply

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
JSON = {"Content-Type": "application/json"}
LURE = "lured-into-the-details"
TOKEN = "token-of-a-liar"
FOREIGN = "https://foreign.example"
IMPATIENT = Timeouts(total_s=0.2, connect_s=0.2)
LONGEST_S = 2.0

Session = Callable[..., aiohttp.ClientSession]
Opened = tuple[TokenService, Identity]


def reply(document: Any, status: int = 200, **headers: str) -> Reply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Reply(status=status, body=body, headers=JSON | headers)


def datum(**fields: Any) -> dict[str, Any]:
    return {"authorizationData": [{"authorizationToken": "QVdTOng=", "expiresAt": 4e9} | fields]}


LIES = {
    "nothing": reply(b""),
    "no JSON": reply(b"<html>hello</html>"),
    "half of it": reply(b'{"access_token": "'),
    "null": reply(None),
    "a list": reply([]),
    "a number": reply(7),
    "an empty object": reply({}),
    "nested deeply": reply(b"[" * 20_000),
    "no UTF-8": reply(b'{"access_token": "\xff\xfe", "expires_in": 3600}'),
    "an error with 200": reply({"error": "invalid_client", "error_description": LURE}),
    "a token that is null": reply({"access_token": None, "expires_in": 3600, "expires_on": "9999999999"}),
    "a token that is a number": reply({"access_token": 12345, "expires_in": 3600, "expires_on": "9999999999"}),
    "a token that is an object": reply({"access_token": {"a": "b"}, "expires_in": 3600, "expires_on": "9999999999"}),
    "an empty token": reply({"access_token": "", "expires_in": 3600, "expires_on": "9999999999"}),
    "a token with a line in it": reply({"access_token": "a\r\nX: b", "expires_in": 3600, "expires_on": "9999999999"}),
    "an endless token": reply({"access_token": "x" * 20_000, "expires_in": 3600, "expires_on": "9999999999"}),
    "an expiry that is words": reply({"access_token": TOKEN, "expires_in": "soon", "expires_on": "soon"}),
    "an expiry that is no number": reply(b'{"access_token": "token-of-a-liar", "expires_in": NaN, "expires_on": NaN}'),
    "an expiry that is a list": reply({"access_token": TOKEN, "expires_in": [], "expires_on": []}),
    "expired at once": reply({"access_token": TOKEN, "expires_in": 0, "expires_on": "1"}),
    "expired before": reply({"access_token": TOKEN, "expires_in": -3600, "expires_on": "1"}),
    "a time that no calendar has": reply(b'{"access_token": "x", "expires_in": -1e400, "expires_on": -1e400}'),
    "no password": reply(datum(authorizationToken="QVdTOg==")),
    "another's password": reply(datum(authorizationToken="cm9vdDpzZWNyZXQ=")),
    "no base64": reply(datum(authorizationToken="%%%")),
    "an expired password": reply(datum(expiresAt=1.0)),
    "a password for nobody": reply({"authorizationData": []}),
    "a huge answer": Reply(status=200, headers=JSON, body=b'{"a": "', padding=1 << 22),
    "a huge error": Reply(status=400, headers=JSON, body=b'{"a": "', padding=1 << 22),
    "redirected": reply({}, 302, Location=f"{FOREIGN}/steal"),
    "redirected with its body": reply({}, 307, Location=f"{FOREIGN}/steal"),
    "redirected for ever": reply({}, 308, Location=f"{FOREIGN}/steal"),
    "a cookie": reply({}, 200, **{"Set-Cookie": f"a={LURE}"}),
    "not allowed": reply({"error": LURE}, 401),
    "forbidden": reply({"error": LURE}, 403),
    "gone": reply({"error": LURE}, 404),
    "throttled": reply({}, 429, **{"Retry-After": "3600"}),
    "broken": reply({"error": LURE}, 500),
    "away": reply({}, 503),
    "a teapot": reply({}, 418),
}  # fmt: skip
BROKEN = {
    "silent after the head": Breakage(stall_after=0),
    "silent half-way": Breakage(stall_after=10),
    "cut off": Breakage(cut_after=10),
}
HALF = reply({"access_token": "half-of-a-token", "expires_in": 3600, "expires_on": "9999999999"})


@pytest.fixture
async def foreign(cloud_tls: Any) -> AsyncIterator[TokenService]:
    async with TokenService(ssl_context=cloud_tls) as double:
        yield double


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Pod with everything that an identity may need, and the configuration of a federation."""
    projected, federation = tmp_path / "projected", tmp_path / "federation.json"
    projected.write_text(EntraDouble.assertion)
    for name, value in {
        "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": str(projected),
        "AWS_ACCESS_KEY_ID": AwsDouble.access_key, "AWS_SECRET_ACCESS_KEY": AwsDouble.secret_key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    federation.write_text(json.dumps({
        "type": "external_account", "audience": "a", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": str(projected)},
    }))  # fmt: skip
    return federation


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, foreign: TokenService) -> Callable[[TokenService], dict[str, TokenService]]:
    """All names of services lead to the one that lies; the instance metadata's address does, too."""

    def lead(double: TokenService) -> dict[str, TokenService]:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", double.url)
        own = ("login.microsoftonline.com", "sts.googleapis.com", "api.ecr.eu-west-1.amazonaws.com",
               "metadata.google.internal")  # fmt: skip
        return {"foreign.example": foreign} | dict.fromkeys(own, double)

    return lead


@pytest.fixture(params=["workload identity", "managed identity", "ECR", "metadata server", "federation"])
async def service(
    request: pytest.FixtureRequest, session: Session, names: Any, cloud_tls: Any, pod: Path
) -> AsyncIterator[Opened]:
    """Each service with the identity that asks it; whatever is not the service is the foreign host."""
    over_tls = request.param in {"workload identity", "ECR", "federation"}
    async with TokenService(ssl_context=cloud_tls if over_tls else None) as double:
        yield double, await _identity(request.param, session(names(double), IMPATIENT), pod)


async def _identity(kind: str, session: aiohttp.ClientSession, federation: Path) -> Identity:
    match kind:
        case "workload identity" | "managed identity":
            config = AzureAuth.model_validate({"identity": kind.split(maxsplit=1)[0]})
            return await azure.open_identity(0, config, session=session, wall=time.time)
        case "ECR":
            return await ecr.open_identity(0, ECR, session=session, wall=time.time)
        case _:
            file = ArtifactRegistryAuth(credentialsFile=str(federation) if kind == "federation" else None)
            return await artifact_registry.open_identity(0, "a.pkg.dev", file, session=session, wall=time.time)


async def refused(identity: Identity) -> str:
    """What is said of a service that gives nothing, within the time that it has."""
    loop = asyncio.get_running_loop()
    kept = Kept(identity, label="cloud", clock=loop.time, patience_s=LONGEST_S, longest_s=0.5)
    began = loop.time()
    with pytest.raises(NoCredential) as caught:
        await kept.get()
    assert loop.time() - began < LONGEST_S
    assert "still asked" not in str(caught.value)
    await kept.aclose()
    return str(caught.value)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_lie(service: Opened, foreign: TokenService, lie: Reply, silence: Any) -> None:
    double, identity = service
    double.lies = lie
    silence.watch(double).made.append(TOKEN)
    said = await refused(identity)
    assert 1 <= len(double.took) <= 2, "asked, and repeated at most once"
    assert foreign.took == [], "redirected to another host"
    assert LURE not in said
    assert TOKEN not in said
    assert len(said) < 200


@pytest.mark.parametrize("breakage", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_does_not_come(service: Opened, foreign: TokenService, breakage: Breakage) -> None:
    double, identity = service
    double.lies, double.breakage = HALF, breakage
    await refused(identity)
    assert foreign.took == []


async def test_an_agent_of_aws_that_says_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AwsDouble() as agent:
        agent.breakage = Breakage(stall_after=0)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v1/credentials")
        identity = await ecr.open_identity(0, ECR, session=session({}), wall=time.time)
        assert "no answer within" in await refused(identity)
        assert len(agent.took) == 1
