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
    """For people; nothing shows it yet."""
    platforms: list[str] = [DEFAULT_PLATFORM]
    """`os/architecture[/variant]` of the nodes that run workloads. In a cluster the default is what its nodes are."""

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
    """Of a label."""
    operator: Operator
    """What must hold of its value."""
    values: list[str] = []
    """With `In` and `NotIn`."""

    @model_validator(mode="after")
    def _values_fit_the_operator(self) -> Self:
        if bool(self.values) != (self.operator in {"In", "NotIn"}):
            message = "values: needed with In and NotIn, refused with Exists and DoesNotExist"
            raise ValueError(message)
        return self


class LabelSelector(ConfigModel):
    """A Kubernetes label selector; an empty one matches everything."""

    match_labels: dict[str, str] = {}
    """Labels and their values."""
    match_expressions: list[MatchExpression] = []
    """Requirements, all of which must hold."""


class Exemption(ConfigModel):
    """What is let through unjudged, and why. Everything that is given must match."""

    images: list[str] = []
    """`DOMAIN/PATH` with `*`, against the normalised name: within one label in the domain, spanning in the path."""
    namespaces: list[str] = []
    """Names."""
    users: list[str] = []
    """Who asks, as the API server names them: `system:serviceaccount:NAMESPACE:NAME`."""
    labels: LabelSelector | None = None
    """Of a Pod, or of the template that Pods are made from."""
    reason: Annotated[str, Field(min_length=1)]
    """Shown in the audit annotation `exemption`."""

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
    """From its creation. The Pods of a Job with `activeDeadlineSeconds` are let go at half of that."""
    then: Literal["keep", "release"] = "keep"
    """`keep` says so by an Event and `tidegate_held_pods_overdue`, `release` opens the gate."""


TagsPolicy = Literal["require-digest", "pin", "allow"]
CannotHold = Literal["default", "warn", "deny"]
OVERRIDABLE = frozenset(Finding) - {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}


class PolicyChoices(ConfigModel):
    """What the policy chooses for all namespaces, and a rule for some; what a rule leaves out comes from the policy."""

    mode: Mode | None = None
    """`enforce` refuses, `warn` admits with a warning, `audit` only counts. Default: audit."""
    tags: TagsPolicy | None = None
    """What is done about tags without a digest; `pin` makes digests of them. Default: require-digest."""
    unlisted: UnlistedPolicy | None = None
    """What is done about images of other registries; nobody is asked about them. Default: require-digest."""
    verdicts: dict[Finding, Verdict] = {}
    """Finding: verdict, in place of the default one."""
    patience: Seconds | None = None
    """How long a review may wait for a registry. Default: 1s where Pods can be held, else the call's own time."""
    hold: HoldConfig | None = None
    """How long a Pod is held, and what then."""
    cannot_hold: CannotHold | None = None
    """What becomes of `hold` where nothing can be held. Default: default, which depends on the kind."""
    grandfather: bool | None = None
    """Whether owned Pods whose image ran in their namespace before get at most a warning. Default: true."""
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
    """By their labels."""


class PolicyConfig(PolicyChoices):
    """The policy; what is left out takes the defaults of `tidegate.policy.Settings`."""

    exempt: list[Exemption] = []
    """What is let through unjudged."""
    rules: list[RuleConfig] = []
    """Choices for some namespaces."""


class PrePullConfig(ConfigModel):
    """The pre-puller."""

    heavy_bytes: Bytes = 2**30
    """Images of more compressed bytes are pulled before their Pods come, without being asked for."""
    per_node: Annotated[int, Field(ge=1, le=100)] = 1
    """Pulls at once on a node."""
    startup_taint: bool = True
    """Whether a node's startup taint is taken off when its images are there. Nobody but its maker sets one."""
    node_condition: bool = False
    """Whether nodes also carry the condition `tidegate.dev/ImagesPresent`, for the Node Readiness Controller."""
    deadline: Seconds = 600.0
    """From its creation on, no node waits longer than this for images, nor does a Pod for nodes that have them."""


class Config(ConfigModel):
    """The configuration file of the three programs and the command line."""

    api_version: Literal["tidegate.dev/v1alpha1"]
    """Always this."""
    kind: Literal["Config"]
    """Always this."""
    registries: list[RegistryConfig]
    """The registries that are checked; a host is listed once."""
    cluster: ClusterConfig = ClusterConfig()
    """Which cluster this is."""
    policy: PolicyConfig = PolicyConfig()
    """What is done about findings."""
    workloads: list[WorkloadConfig] = []
    """Custom resources that hold images, besides those that are known."""
    pre_pull: PrePullConfig = PrePullConfig()
    """The pre-puller."""

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
