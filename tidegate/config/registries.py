"""The `registries:` part of the configuration file: hosts, their replicas, how to ask them and how fast."""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from tidegate.config.base import ConfigModel
from tidegate.reference import ImageReference, InvalidReference

_HOST_PROBE = "probe"
_HOST_NAME = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII)
"""Of an endpoint, IPv6 addresses without their brackets included."""
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"(?!.*/v2/?$)(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?", re.ASCII)
"""Of an endpoint: what a registry that shares its host with others has before /v2/."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
"""Of a replica: it is a metric label and a word in denials."""


class ReplicaConfig(ConfigModel):
    """One regional copy of a registry, with an endpoint of its own."""

    endpoint: str
    """`https://HOST[:PORT][/PATH]`; `http://` only for loopback or with `plainHTTP`. /v2/ follows."""
    ca_file: str | None = None
    """PEM bundle that this replica's certificate chains to, in place of the system's."""
    plain_http: Annotated[bool, Field(alias="plainHTTP")] = False
    """Whether `http://` may be spoken to another machine."""
    repository: str = "{path}"
    """Where the replica keeps the repository `{path}` of the registry, for replicas that rename."""

    @field_validator("repository")
    @classmethod
    def _names_the_path_once(cls, value: str) -> str:
        if value.count("{path}") != 1 or "{" in value.replace("{path}", ""):
            message = "write the repository with {path} in it exactly once, like mirror/{path}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _endpoint_is_safe(self) -> Self:
        try:
            parts = urlsplit(self.endpoint) if self.endpoint.isprintable() else urlsplit("")
            _ = parts.port
        except ValueError as exc:
            message = f"endpoint: {exc}"
            raise ValueError(message) from exc
        if parts.scheme not in {"http", "https"} or not parts.hostname or not _HOST_NAME.fullmatch(parts.hostname):
            message = "endpoint: write it like https://registry.example.com or https://registry.example.com:5000"
            raise ValueError(message)
        if not _PREFIX.fullmatch(parts.path) or parts.query or parts.fragment or parts.username is not None:
            message = (
                "endpoint: only scheme, host, port and a plain path belong here (no /v2, no query, no credentials)"
            )
            raise ValueError(message)
        if parts.scheme == "http" and not self.plain_http and not is_loopback(parts.hostname):
            message = "endpoint: http:// sends everything in the clear; use https://, or set plainHTTP: true"
            raise ValueError(message)
        return self


class AnonymousAuth(ConfigModel):
    """No credential: what anybody may read."""


class BasicAuth(ConfigModel):
    """A user name with a password, or with a file that holds the password."""

    username: Annotated[str, Field(min_length=1)]
    """Who."""
    password: SecretStr | None = None
    """Better in a file."""
    password_file: str | None = None
    """Read whenever it is used."""

    @model_validator(mode="after")
    def _exactly_one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            message = "give either password or passwordFile"
            raise ValueError(message)
        return self


class DockerConfigAuth(ConfigModel):
    """What a `.dockerconfigjson` or an older `.dockercfg` holds for an image, matched as kubelet does."""

    file: Annotated[str, Field(min_length=1)]
    """Read again when it changes."""


class CredentialProviderAuth(ConfigModel):
    """What kubelet's credential provider plugins give for an image."""

    config: Annotated[str, Field(min_length=1)]
    """A `CredentialProviderConfig` (kubelet.config.k8s.io/v1), as kubelet's --image-credential-provider-config."""
    bin_dir: Annotated[str, Field(min_length=1)]
    """The folder of the plugins, as kubelet's --image-credential-provider-bin-dir."""


class AzureAuth(ConfigModel):
    """An identity of Entra, at Azure Container Registry."""

    identity: Literal["auto", "workload", "managed"] = "auto"
    """`auto`: the workload identity of the Pod where it has one, else the managed identity."""
    client_id: Annotated[str, Field(min_length=1)] | None = None
    """Of an identity of several; default AZURE_CLIENT_ID, or the only one."""
    tenant_id: Annotated[str, Field(min_length=1)] | None = None
    """Default AZURE_TENANT_ID."""

    @model_validator(mode="after")
    def _a_managed_identity_knows_its_tenant(self) -> Self:
        if self.identity == "managed" and self.tenant_id is not None:
            message = "tenantId: a managed identity has one already; leave it out"
            raise ValueError(message)
        return self


class EcrAuth(ConfigModel):
    """`{}`: the AWS identity of the Pod, at ECR."""


class ArtifactRegistryAuth(ConfigModel):
    """A Google identity, at Artifact Registry."""

    credentials_file: Annotated[str, Field(min_length=1)] | None = None
    """A service account's key or a workload identity federation's configuration. Default: the metadata server."""


class PullSecretsAuth(ConfigModel):
    """What a Pod's imagePullSecrets hold for an image, in the namespaces that are named here and no others."""

    namespaces: Annotated[list[str], Field(min_length=1, max_length=256)]
    """Names; tidegate reads the pull secrets and ServiceAccounts of these, and needs a Role in each."""

    @field_validator("namespaces")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _NAMESPACE.fullmatch(name):
                message = f"{name!r:.80} is no name of a namespace; each is listed by itself, without patterns"
                raise ValueError(message)
        return value


class AuthConfig(ConfigModel):
    """One way to be somebody: exactly one key."""

    anonymous: AnonymousAuth | None = None
    """`{}`: what anybody may read."""
    basic: BasicAuth | None = None
    """A user name and a password."""
    docker_config: DockerConfigAuth | None = None
    """A `.dockerconfigjson` or `.dockercfg`."""
    credential_provider: CredentialProviderAuth | None = None
    """kubelet's credential provider plugins."""
    azure: AzureAuth | None = None
    """An Entra identity, at Azure Container Registry."""
    ecr: EcrAuth | None = None
    """The AWS identity of the Pod, at ECR."""
    artifact_registry: ArtifactRegistryAuth | None = None
    """The Google identity of the Pod, at Artifact Registry."""
    pull_secrets: PullSecretsAuth | None = None
    """`imagePullSecrets` of the Pods that are judged."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        ways = (
            self.anonymous, self.basic, self.docker_config, self.credential_provider,
            self.azure, self.ecr, self.artifact_registry, self.pull_secrets,
        )  # fmt: skip
        if sum(way is not None for way in ways) != 1:
            message = (
                "give exactly one of anonymous, basic, dockerConfig, credentialProvider, azure, ecr, artifactRegistry, "
                "pullSecrets"
            )
            raise ValueError(message)
        return self


class LimitsConfig(ConfigModel):
    """How hard one tidegate process may press on one replica."""

    requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    """On average."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 100
    """At once, after a rest."""
    connections: Annotated[int, Field(ge=1, le=1024)] = 32
    """Open at once."""


class PullsConfig(ConfigModel):
    """This cluster's share of the registry for pulls, all nodes together: where it starts, how far it may grow."""

    in_flight: Annotated[int, Field(ge=1, le=10_000)] = 3
    """Pulls at once: where it starts."""
    requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    """Of all these pulls together: where it starts."""
    burst: Annotated[int, Field(ge=1, le=100_000)] = 20
    """At once, after a rest."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 32
    """How far it may grow while pulls end cleanly. Default: no less than inFlight."""
    max_requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 80.0
    """How far it may grow; a limit that you know belongs here. Default: no less than requestsPerSecond."""
    mirror: bool = False
    """Whether nodes get images from each other: two pull first, then as many at once as have the image already."""

    @model_validator(mode="after")
    def _starts_below_its_ceiling(self) -> Self:
        if "max_in_flight" in self.model_fields_set and self.max_in_flight < self.in_flight:
            message = "maxInFlight: may not be below inFlight"
            raise ValueError(message)
        if (
            "max_requests_per_second" in self.model_fields_set
            and self.max_requests_per_second < self.requests_per_second
        ):
            message = "maxRequestsPerSecond: may not be below requestsPerSecond"
            raise ValueError(message)
        return self


class RegistryConfig(ConfigModel):
    """One registry host and its replicas."""

    host: str
    """As written in image references."""
    replicas: Annotated[dict[str, ReplicaConfig], Field(min_length=1)]
    """By name."""
    home: str | None = None
    """The replica that pipelines push to; tags are resolved there. Default: the first."""
    local: str | Annotated[list[str], Field(min_length=1)] | None = None
    """What this cluster's nodes pull from; complete means complete on all of them. Default: home."""
    failover: list[str] = []
    """Asked in this order when local cannot be asked."""
    auth: Annotated[list[AuthConfig], Field(min_length=1)] = [AuthConfig(anonymous=AnonymousAuth())]
    """Tried in this order. Default: anonymous."""
    token_hosts: list[str] = []
    """Host names, besides an endpoint's own, that may be sent credentials in exchange for tokens."""
    limits: LimitsConfig = LimitsConfig()
    """How hard one tidegate process may press on one replica."""
    pulls: PullsConfig = PullsConfig()
    """This cluster's share of the registry for pulls, all nodes together."""

    @field_validator("host")
    @classmethod
    def _is_a_domain(cls, value: str) -> str:
        try:
            parsed = ImageReference.parse(f"{value}/{_HOST_PROBE}")
        except InvalidReference as exc:
            message = f"{value!r:.64} is not a registry host as image references have it"
            raise ValueError(message) from exc
        if parsed.domain != value:
            message = f"references spell this host {parsed.domain!r}, which is what tidegate compares with"
            raise ValueError(message)
        return value

    @field_validator("replicas")
    @classmethod
    def _have_names(cls, value: dict[str, ReplicaConfig]) -> dict[str, ReplicaConfig]:
        for name in value:
            if not _NAME.fullmatch(name):
                message = f"{name!r:.80} is no name for a replica; write letters, digits and . _ -, at most 63"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _names_are_replicas(self) -> Self:
        named = {"home": [self.home_name], "local": self.local_names, "failover": self.failover}
        for key, names in named.items():
            for name in names:
                if name not in self.replicas:
                    message = f"{key}: no replica is called {name!r}; there are {', '.join(self.replicas)}"
                    raise ValueError(message)
            if len(set(names)) != len(names):
                message = f"{key}: a replica is named twice"
                raise ValueError(message)
        return self

    @property
    def home_name(self) -> str:
        """The replica where tags are resolved."""
        return self.home or next(iter(self.replicas))

    @property
    def pull_secret_namespaces(self) -> frozenset[str]:
        """Where pull secrets may be read for this registry."""
        entries = (entry.pull_secrets for entry in self.auth)
        return frozenset(name for entry in entries if entry is not None for name in entry.namespaces)

    @property
    def local_names(self) -> list[str]:
        """The replicas that must all be complete."""
        if self.local is None:
            return [self.home_name]
        return [self.local] if isinstance(self.local, str) else self.local


UnlistedPolicy = Literal["require-digest", "allow", "deny"]


def is_loopback(host: str) -> bool:
    """Whether a host name can only be this machine: `localhost` or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
