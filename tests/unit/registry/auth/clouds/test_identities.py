"""Which identity an entry means, and what is asked of which service for it."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from tidegate.config.errors import ConfigError
from tidegate.config.registries import ArtifactRegistryAuth, AuthConfig, AzureAuth
from tidegate.registry.auth import artifact_registry, azure, ecr
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.auth.sources import open_sources
from tidegate.registry.bounds import Timeouts
from tidegate.testing.clouds import AwsDouble, EntraDouble, GoogleDouble

LOGIN = "login.microsoftonline.com"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
API = "api.ecr.eu-west-1.amazonaws.com"
DOCKER = "europe-west1-docker.pkg.dev"

Session = Callable[..., aiohttp.ClientSession]


async def entra_of(session: aiohttp.ClientSession, **fields: Any) -> azure.EntraIdentity:
    return await azure.open_identity(0, AzureAuth.model_validate(fields), session=session, wall=time.time)


async def google_of(session: aiohttp.ClientSession, file: Path | None = None) -> artifact_registry.GoogleIdentity:
    config = ArtifactRegistryAuth(credentialsFile=None if file is None else str(file))
    return await artifact_registry.open_identity(0, DOCKER, config, session=session, wall=time.time)


# Azure


@pytest.mark.usefixtures("workload")
async def test_a_workload_identity_is_its_projected_token_at_entra(entra: EntraDouble, session: Session) -> None:
    identity = await entra_of(session({LOGIN: entra}))
    given = await identity.fetch()
    assert given.secret == entra.made[0]
    assert 3590 < given.lives_s <= 3600
    assert [took.path for took in entra.took] == [entra.path]


async def test_the_projected_token_is_read_whenever_it_is_used(
    entra: EntraDouble, rotate: Callable[[str], None], session: Session
) -> None:
    identity = await entra_of(session({LOGIN: entra}))
    rotate("rotated")
    entra.assertion = "rotated"
    assert (await identity.fetch()).secret == entra.made[0]


@pytest.mark.usefixtures("workload")
async def test_what_is_configured_goes_before_the_environment(entra: EntraDouble, session: Session) -> None:
    identity = await entra_of(session({LOGIN: entra}), identity="workload", clientId="other", tenantId="33333333-cccc")
    with pytest.raises(NoCredential, match="HTTP 404"):
        await identity.fetch()
    [took] = entra.took
    assert took.path.startswith("/33333333-cccc/")
    assert took.form["client_id"] == "other"


@pytest.mark.parametrize(
    "fields", [{}, {"identity": "managed"}, {"identity": "managed", "clientId": EntraDouble.client}]
)
async def test_a_managed_identity_is_asked_of_the_machine(imds: EntraDouble, session: Session, fields: Any) -> None:
    given = await (await entra_of(session({}), **fields)).fetch()
    assert given.secret == imds.made[0]
    assert 3590 < given.lives_s <= 3601
    assert imds.took[0].query.get("client_id") == fields.get("clientId")


@pytest.mark.usefixtures("workload")
@pytest.mark.parametrize("identity, asked", [("auto", (1, 0)), ("workload", (1, 0)), ("managed", (0, 1))])
async def test_which_identity_in_a_pod_that_has_both(
    entra: EntraDouble, imds: EntraDouble, session: Session, identity: str, asked: tuple[int, int]
) -> None:
    await (await entra_of(session({LOGIN: entra}), identity=identity)).fetch()
    assert (len(entra.took), len(imds.took)) == asked


@pytest.mark.usefixtures("imds")
async def test_an_identity_that_the_machine_has_not(session: Session) -> None:
    identity = await entra_of(session({}), identity="managed", clientId="not-mine")
    with pytest.raises(NoCredential, match="CredentialUnavailableError"):
        await identity.fetch()


async def test_a_workload_identity_that_is_not_there(session: Session) -> None:
    with pytest.raises(ConfigError, match=r"^auth\[0\]\.azure: no workload identity in the environment"):
        await entra_of(session({}), identity="workload")


# AWS


@pytest.mark.parametrize(
    "host, api, region",
    [
        (ECR, API, "eu-west-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "ecr-fips.us-gov-west-1.amazonaws.com",
         "us-gov-west-1"),
        ("123456789012.dkr-ecr.us-east-1.on.aws", "ecr.us-east-1.api.aws", "us-east-1"),
        ("123456789012.dkr-ecr-fips.us-east-1.on.aws", "ecr-fips.us-east-1.api.aws", "us-east-1"),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn",
         "cn-north-1"),
    ],
)  # fmt: skip
def test_the_api_of_a_region(host: str, api: str, region: str) -> None:
    assert ecr.api_of(host) == ecr.Api(URL(f"https://{api}/"), region)


@pytest.mark.parametrize(
    "host",
    [
        "public.ecr.aws", "amazonaws.com", "dkr.ecr.eu-west-1.amazonaws.com", "12.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", "123456789012.dkr.ecr.eu-west-1.evil.example",
        "123456789012.dkr.ecr.evil.example/.amazonaws.com", "x123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr..amazonaws.com", "123456789012.dkr.ecr.a.b.amazonaws.com", "127.0.0.1", "",
        "\u0661\u0662\u0663456789012.dkr.ecr.eu-west-1.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.",
    ],
)  # fmt: skip
async def test_no_registry_of_ecr(host: str, session: Session) -> None:
    assert ecr.api_of(host) is None
    with pytest.raises(ConfigError, match=r"^auth\[3\]\.ecr: .*is no private registry of ECR"):
        await ecr.open_identity(3, host, session=session({}), wall=time.time)


async def test_a_password_is_had_with_the_keys_of_the_environment(
    aws: AwsDouble, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.secret_key)
    identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
    given = await identity.fetch()
    assert given.secret == aws.made[0]
    assert 43190 < given.lives_s <= 43200
    [took] = aws.took
    assert "/eu-west-1/ecr/aws4_request" in took.headers["authorization"]
    assert aws.secret_key not in took.whole()


async def test_a_pod_identity_of_eks(
    aws: AwsDouble, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "eks-pod-identity-token"
    token.write_text(AwsDouble.agent_token)
    async with AwsDouble() as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
        given = await identity.fetch()
        assert len(agent.took) == 1
    assert given.secret == aws.made[0]
    assert aws.took[0].headers["x-amz-security-token"] == aws.session_token


async def test_no_aws_credentials_at_all(aws: AwsDouble, session: Session) -> None:
    identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
    with pytest.raises(NoCredential, match="no AWS credentials"):
        await identity.fetch()
    assert aws.took == []


async def test_what_aws_refuses_has_a_name(aws: AwsDouble, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
    with pytest.raises(NoCredential, match=r"HTTP 400 InvalidSignatureException$"):
        await identity.fetch()


# Google


async def test_the_metadata_server_speaks_for_a_pod(metadata: GoogleDouble, session: Session) -> None:
    identity = await google_of(session({"metadata.google.internal": metadata}))
    given = await identity.fetch()
    assert given.secret == metadata.made[0]
    assert 3590 < given.lives_s <= 3600
    assert all(took.headers["metadata-flavor"] == "Google" for took in metadata.took)


async def test_a_key_of_a_service_account(google: GoogleDouble, session: Session, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    file = tmp_path / "key.json"
    file.write_text(json.dumps({
        "type": "service_account", "client_email": "gate@project.iam.gserviceaccount.com", "private_key": pem,
        "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
    }))  # fmt: skip
    given = await (await google_of(session({"oauth2.googleapis.com": google}), file)).fetch()
    assert given.secret == google.made[0]
    assert [took.path for took in google.took] == ["/token"]


async def test_a_workload_identity_federation(google: GoogleDouble, session: Session, tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "federation.json"
    token.write_text("projected")
    file.write_text(json.dumps({
        "type": "external_account", "audience": "//iam.googleapis.com/projects/1/pools/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(token)},
    }))  # fmt: skip
    given = await (await google_of(session({"sts.googleapis.com": google}), file)).fetch()
    assert given.secret == google.made[0]
    assert google.took[0].form["subject_token"] == "projected"


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "No such file"),
        ("", "neither a service account"),
        ("[]", "neither a service account"),
        ("{}", "neither a service account"),
        ('{"type": "authorized_user", "refresh_token": "SECRET"}', "neither a service account"),
        ('{"type": "service_account"}', "neither a service account"),
        ('{"type": "service_account", "private_key": "SECRET"}', "neither a service account"),
        ('{"type": "external_account"}', "neither a service account"),
        ('{"type": "external_account", "credential_source": {"executable": {"command": "rm"}}}', "neither a service"),
    ],
)
async def test_an_unusable_credentials_file(text: str | None, words: str, session: Session, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=rf"^auth\[0\]\.artifactRegistry\.credentialsFile: .*{words}") as caught:
        await google_of(session({}), file)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["pkg.dev.evil.example", "evilpkg.dev", "pkg.dev", "127.0.0.1", "docker.io", "xgcr.io"]
)
async def test_no_registry_of_google(host: str, session: Session) -> None:
    with pytest.raises(ConfigError, match=r"^auth\[1\]\.artifactRegistry: .*is not Artifact Registry"):
        await artifact_registry.open_identity(1, host, ArtifactRegistryAuth(), session=session({}), wall=time.time)


# All


@pytest.mark.parametrize(
    "entry, host, module, words",
    [
        ("azure", "r.azurecr.io", "azure.identity.aio", "needs azure-identity; install the extra azure"),
        ("ecr", ECR, "awscrt.auth", "needs awscrt; install the extra aws"),
        ("artifactRegistry", DOCKER, "google.auth", "needs google-auth; install the extra google"),
    ],
)
async def test_an_extra_that_is_not_installed(
    entry: str, host: str, module: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    auth = [AuthConfig.model_validate({"anonymous": {}}), AuthConfig.model_validate({entry: {}})]
    with pytest.raises(ConfigError, match=rf"^auth\[1\]\.{entry}: {words}"):
        await open_sources(auth, endpoint=URL(f"https://{host}"), clock=lambda: 0.0, timeouts=Timeouts())


@pytest.mark.parametrize(
    "entry, host, label",
    [
        ({"azure": {}}, "r.azurecr.io", "azure auto"),
        ({"azure": {"clientId": "c"}}, "r.westeurope.geo.azurecr.io", "azure c"),
        ({"ecr": {}}, ECR, "ecr"),
        ({"artifactRegistry": {}}, DOCKER, "artifactRegistry"),
    ],
)
async def test_opening_asks_nobody(entry: Any, host: str, label: str) -> None:
    auth = [AuthConfig.model_validate(entry)]
    [source] = await open_sources(auth, endpoint=URL(f"https://{host}"), clock=lambda: 0.0, timeouts=Timeouts())
    assert source.label == label
    await source.aclose()


@pytest.mark.parametrize(
    "entry, host", [("azure", "r.azurecr.io"), ("ecr", ECR), ("artifactRegistry", DOCKER), ("azure", "10.0.0.1")]
)
async def test_what_a_cloud_gives_does_not_go_in_the_clear(entry: str, host: str) -> None:
    auth = [AuthConfig.model_validate({entry: {}})]
    with pytest.raises(ConfigError, match=r"^auth\[0\]: .*over TLS only"):
        await open_sources(auth, endpoint=URL(f"http://{host}"), clock=lambda: 0.0, timeouts=Timeouts())
