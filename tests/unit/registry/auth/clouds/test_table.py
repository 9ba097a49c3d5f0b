"""The credentials of clouds in one table: source, what matched, what came of it. Printed with `pytest -s`.

Azure goes all the way to a manifest, since a registry on loopback may be ACR; ECR and Artifact Registry are only what
their own host names say, so there the last step is the registry's check of the header.
"""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.config.registries import ArtifactRegistryAuth, AzureAuth
from tidegate.registry.auth import artifact_registry, azure, ecr
from tidegate.registry.auth.cloud import CloudSource, Identity, Kept
from tidegate.registry.auth.credentials import UserPassword
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import RegistryError
from tidegate.testing.clouds import AcrTokens, AwsDouble, EntraDouble, GoogleDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import BasicGuard, BearerGuard, RegistryDouble
from tidegate.testing.registry.tokens import Account

IMAGE = build_image(layers=1)
ECR, API = "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"


def row(source: str, matched: str, result: str) -> None:
    print(f"\n{source:<50} | {matched:<27} | {result}")


@pytest.fixture
async def acr(imds: EntraDouble, silence: Any) -> AsyncIterator[RegistryDouble]:
    tokens = silence.watch(AcrTokens(imds.made, account=Account(password="", pull=("team-a/*",))))
    async with tokens, RegistryDouble(guard=BearerGuard(tokens)) as registry:
        for name in ("team-a/app", "team-b/app"):
            registry.put(name, IMAGE, tag="1")
        yield registry


@pytest.fixture
def gate(acr: RegistryDouble, client: Any, azure_auth: Any) -> Callable[..., ReplicaClient]:
    return lambda fields: client(acr.url, auth=(azure_auth(**fields),))


async def asked(replica: ReplicaClient, name: str) -> str:
    try:
        return f"manifest {(await replica.manifest(name, '1')).digest[:14]}"
    except RegistryError as exc:
        return exc.finding


@pytest.mark.parametrize(
    "name, fields, result",
    [
        ("team-a/app", {}, f"manifest {IMAGE.digest[:14]}"),
        ("team-a/app", {"clientId": EntraDouble.client}, f"manifest {IMAGE.digest[:14]}"),
        ("team-a/app", {"clientId": "of-another"}, "unauthorized"),
        ("team-b/app", {}, "unauthorized"),
        ("team-b/none", {}, "unauthorized"),
    ],
    ids=["its own", "one of several", "not this machine's", "another tenant's", "another tenant's, absent"],
)
async def test_azure(gate: Callable[..., ReplicaClient], name: str, fields: dict[str, str], result: str) -> None:
    async with gate(fields) as replica:
        said = await asked(replica, name)
    row(f"azure {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}", name, said)
    assert said == result


@pytest.mark.usefixtures("workload")
async def test_azure_workload_identity(entra: EntraDouble, session: Any) -> None:
    config = AzureAuth(identity="workload")
    identity = await azure.open_identity(
        0, config, session=session({"login.microsoftonline.com": entra}), wall=time.time
    )
    assert (await identity.fetch()).secret == entra.made[0]
    row("azure {identity: workload}", "every image of the endpoint", "Entra token, for the exchange as above")


async def through(identity: Identity, source: str, user: str, made: list[str]) -> None:
    """The secret is what the service gave, and a registry that knows it lets it in."""
    kept = Kept(identity, label=source, clock=time.monotonic, patience_s=5.0)
    [credential] = await CloudSource(place=0, label=source, username=user, kept=kept).credentials("image")
    assert credential.password == made[-1]
    header = UserPassword(user, credential.password).basic()
    assert BasicGuard({user: made[-1]}).challenge(header, [], now=0.0) is None
    row(source, "every image of the endpoint", f"let in as {user}")
    await kept.aclose()


async def test_ecr(aws: AwsDouble, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.secret_key)
    identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
    await through(identity, "ecr {} (keys of the environment)", ecr.USER, aws.made)


async def test_ecr_without_a_right(aws: AwsDouble, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.secret_key)
    identity = await ecr.open_identity(0, ECR, session=session({API: aws}), wall=time.time)
    with pytest.raises(NoCredential) as caught:
        await identity.fetch()
    row("ecr {} (keys of another account)", "nothing", str(caught.value)[-42:])


async def test_artifact_registry(metadata: GoogleDouble, session: Callable[..., Any]) -> None:
    identity = await artifact_registry.open_identity(
        0, "a-docker.pkg.dev", ArtifactRegistryAuth(), session=session({"metadata.google.internal": metadata}),
        wall=time.time,
    )  # fmt: skip
    await through(identity, "artifactRegistry {} (metadata server)", artifact_registry.USER, metadata.made)


async def test_artifact_registry_with_a_file_that_is_none(session: Callable[..., Any], tmp_path: Path) -> None:
    config = ArtifactRegistryAuth(credentialsFile=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="credentialsFile") as caught:
        await artifact_registry.open_identity(0, "a-docker.pkg.dev", config, session=session({}), wall=time.time)
    row("artifactRegistry {credentialsFile: none}", "nothing", str(caught.value)[-26:])
