"""Which requests: kinds, and namespaces by their labels. One truth for webhooks and policies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidegate.findings import Mode
from tidegate.policy import BREAK_GLASS_LABEL, EFFECTIVE_MODE_LABEL, NAME_LABEL, Operator

Object = dict[str, Any]
"""An API object or a part of one, as its JSON has it."""

EXCLUDED_NAMESPACES = (
    "kube-system", "kube-node-lease", "calico-apiserver", "calico-system", "tigera-operator", "cilium", "kube-flannel",
    "longhorn-system", "rook-ceph",
)  # fmt: skip
"""Nobody is asked about these: a cluster has to start, and get its network and disks, with tidegate down."""

PODS = "pods"
EPHEMERAL = "pods/ephemeralcontainers"
CORE = ("replicationcontrollers", "podtemplates")
APPS = ("deployments", "replicasets", "statefulsets", "daemonsets")
BATCH = ("jobs", "cronjobs")


def excluded(own: str) -> Sequence[str]:
    """Names of the namespaces that are left alone; `own`: tidegate's."""
    return (*EXCLUDED_NAMESPACES, own)


def resource_rules(*pods: str) -> list[Object]:
    """Creation and update of every built-in kind that holds a pod spec, and of these resources of Pods."""
    return [
        rule("", ["v1"], [*pods, *CORE]),
        rule("apps", ["v1"], APPS),
        rule("batch", ["v1"], BATCH),
    ]


def rule(
    group: str, versions: Iterable[str], resources: Iterable[str], *, operations: Iterable[str] = ("CREATE", "UPDATE")
) -> Object:
    """One of `rules`, with what the API server would fill in."""
    return {
        "apiGroups": [group],
        "apiVersions": [*versions],
        "operations": [*operations],
        "resources": [*resources],
        "scope": "*",
    }


def all_namespaces(own: str) -> Object:
    """A selector of all but the excluded ones."""
    return {"matchExpressions": [_named(own)]}


def in_mode(modes: Iterable[Mode], *, unlabelled: Mode, own: str, glass: Operator | None = None) -> Object:
    """A selector of namespaces in one of these modes; those that have no label yet count as in `unlabelled`.

    `glass`: besides, whether they carry the label of an emergency, of whatever value.
    """
    chosen = set(modes)
    if unlabelled in chosen:
        others = sorted(mode.value for mode in set(Mode) - chosen)
        by_mode: Mapping[str, Any] = {"key": EFFECTIVE_MODE_LABEL, "operator": "NotIn", "values": others}
    else:
        by_mode = {"key": EFFECTIVE_MODE_LABEL, "operator": "In", "values": sorted(mode.value for mode in chosen)}
    in_emergency = [] if glass is None else [{"key": BREAK_GLASS_LABEL, "operator": glass.value}]
    return {"matchExpressions": [_named(own), dict(by_mode), *in_emergency]}


def _named(own: str) -> Object:
    return {"key": NAME_LABEL, "operator": "NotIn", "values": [*excluded(own)]}
