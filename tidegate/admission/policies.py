"""The ValidatingAdmissionPolicies that follow from a configuration, with their bindings."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from tidegate.admission import namespace_labels, static_findings
from tidegate.admission.matching import Object, in_mode
from tidegate.findings import Mode
from tidegate.policy import Policy

MANAGED_BY: Mapping[str, str] = MappingProxyType({"app.kubernetes.io/managed-by": "tidegate-controller"})
"""On all that the controller keeps: what carries it and follows from nothing any more is deleted."""
STATIC = "tidegate-static-findings"
GUARD = "tidegate-namespace-labels"

_API = "admissionregistration.k8s.io/v1"
_ACTIONS = {Mode.ENFORCE: ["Deny", "Audit"], Mode.WARN: ["Warn"], Mode.AUDIT: ["Audit"]}


def policies(policy: Policy, hosts: Collection[str], *, own: str) -> Sequence[Object]:
    """Policies before their bindings. `hosts`: the listed registries; `own`: tidegate's namespace.

    Written out in full, as the API server would complete them, so that what it returns can be compared.
    """
    modes = [
        _binding(f"{STATIC}-{mode}", STATIC, actions, in_mode([mode], unlabelled=policy.base.mode, own=own))
        for mode, actions in _ACTIONS.items()
    ]
    return [
        _object("ValidatingAdmissionPolicy", GUARD, namespace_labels.spec(policy, own=own)),
        _object("ValidatingAdmissionPolicy", STATIC, static_findings.spec(policy, hosts)),
        _binding(GUARD, GUARD, ["Deny"], {}),
        *modes,
    ]


def _binding(name: str, of: str, actions: Sequence[str], namespaces: Object) -> Object:
    where = {
        "matchPolicy": "Equivalent",
        "namespaceSelector": namespaces,
        "objectSelector": {},
        "excludeResourceRules": [],
    }
    spec = {"policyName": of, "validationActions": [*actions], "matchResources": where}
    return _object("ValidatingAdmissionPolicyBinding", name, spec)


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name, "labels": dict(MANAGED_BY)}, "spec": spec}
