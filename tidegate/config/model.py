"""The whole configuration file, as `tidegate.config.load` returns it."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tidegate.config.base import ConfigModel
from tidegate.config.quantities import Bytes, Seconds
from tidegate.config.registries import RegistryConfig, UnlistedPolicy
from tidegate.config.workloads import WorkloadConfig
from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import ImagePattern

DEFAULT_PLATFORM = "linux/amd64"
_PARTS_OF_A_PLATFORM = (2, 3)


class ClusterConfig(ConfigModel):
    """Which cluster this is."""

    name: str = ""
    platforms: list[str] = [DEFAULT_PLATFORM]
    """`os/architecture[/variant]` of the nodes that run workloads."""

    @field_validator("platforms")
    @classmethod
    def _are_platforms(cls, value: list[str]) -> list[str]:
        for platform in value:
            parts = platform.split("/")
            if len(parts) not in _PARTS_OF_A_PLATFORM or not all(p.isascii() and p.isalnum() for p in parts):
                message = f"{platform!r:.64} is not a platform; write it like linux/amd64 or linux/arm/v7"
                raise ValueError(message)
        if not value:
            message = "name at least one platform"
            raise ValueError(message)
        return value


Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


class MatchExpression(ConfigModel):
    """One requirement of a label selector."""

    key: Annotated[str, Field(min_length=1)]
    operator: Operator
    values: list[str] = []

    @model_validator(mode="after")
    def _values_fit_the_operator(self) -> Self:
        if bool(self.values) != (self.operator in {"In", "NotIn"}):
            message = "values: needed with In and NotIn, refused with Exists and DoesNotExist"
            raise ValueError(message)
        return self


class LabelSelector(ConfigModel):
    """A Kubernetes label selector; an empty one matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: list[MatchExpression] = []


class Exemption(ConfigModel):
    """What is let through unjudged, and why. Everything that is given must match."""

    images: list[str] = []
    """`DOMAIN/PATH` with `*`, against the normalised name: within one label in the domain, spanning in the path."""
    namespaces: list[str] = []
    users: list[str] = []
    labels: LabelSelector | None = None
    reason: Annotated[str, Field(min_length=1)]

    @field_validator("images")
    @classmethod
    def _are_patterns(cls, value: list[str]) -> list[str]:
        for text in value:
            ImagePattern.parse(text)
        return value

    @model_validator(mode="after")
    def _exempts_something(self) -> Self:
        chosen = self.labels is not None and bool(self.labels.match_labels or self.labels.match_expressions)
        if not (self.images or self.namespaces or self.users or chosen):
            message = "give at least one of images, namespaces, users, labels; an empty exemption would exempt all"
            raise ValueError(message)
        return self


class HoldConfig(ConfigModel):
    """How long a Pod is held, and what then."""

    deadline: Seconds = 240.0
    then: Literal["keep", "release"] = "keep"


TagsPolicy = Literal["require-digest", "pin", "allow"]
CannotHold = Literal["default", "warn", "deny"]
OVERRIDABLE = frozenset(Finding) - {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}


class PolicyChoices(ConfigModel):
    """What a rule may choose for its namespaces; None leaves it to the policy above."""

    mode: Mode | None = None
    tags: TagsPolicy | None = None
    unlisted: UnlistedPolicy | None = None
    verdicts: dict[Finding, Verdict] = {}
    patience: Seconds | None = None
    hold: HoldConfig | None = None
    cannot_hold: CannotHold | None = None
    grandfather: bool | None = None
    exempt_annotation: bool | None = None
    """Whether authors may exempt their objects with `tidegate.dev/exempt: "reason"`. Default: false."""

    @field_validator("verdicts")
    @classmethod
    def _can_be_chosen(cls, value: dict[Finding, Verdict]) -> dict[Finding, Verdict]:
        for finding in value:
            if finding not in OVERRIDABLE:
                message = f"{finding.value}: always allowed, there is nothing to choose"
                raise ValueError(message)
        return value


class RuleConfig(PolicyChoices):
    """Choices for the namespaces that a selector matches; the first such rule counts."""

    namespaces: LabelSelector


class PolicyConfig(PolicyChoices):
    """The policy; what is left out takes the defaults of `tidegate.policy.Settings`."""

    exempt: list[Exemption] = []
    rules: list[RuleConfig] = []


class PrePullConfig(ConfigModel):
    """The pre-puller."""

    heavy_bytes: Bytes = 2**30
    per_node: Annotated[int, Field(ge=1, le=100)] = 1
    startup_taint: bool = True
    deadline: Seconds = 600.0


class Config(ConfigModel):
    """The configuration file of the three programs and the command line."""

    api_version: Literal["tidegate.dev/v1alpha1"]
    kind: Literal["Config"]
    registries: list[RegistryConfig]
    cluster: ClusterConfig = ClusterConfig()
    policy: PolicyConfig = PolicyConfig()
    workloads: list[WorkloadConfig] = []
    pre_pull: PrePullConfig = PrePullConfig()

    @field_validator("registries")
    @classmethod
    def _hosts_are_distinct(cls, value: list[RegistryConfig]) -> list[RegistryConfig]:
        hosts = [registry.host for registry in value]
        for host in hosts:
            if hosts.count(host) > 1:
                message = f"{host}: listed twice"
                raise ValueError(message)
        return value

    @field_validator("workloads")
    @classmethod
    def _kinds_are_distinct(cls, value: list[WorkloadConfig]) -> list[WorkloadConfig]:
        kinds = [(workload.group, workload.kind) for workload in value]
        for group, kind in kinds:
            if kinds.count((group, kind)) > 1:
                message = f"{kind} of {group}: given twice"
                raise ValueError(message)
        return value

    @property
    def pull_secret_namespaces(self) -> frozenset[str]:
        """Where pull secrets may be read, for any registry."""
        return frozenset(name for registry in self.registries for name in registry.pull_secret_namespaces)
