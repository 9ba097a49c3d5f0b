"""Whom the API server asks about what: the two webhook configurations.

Enforcing namespaces fail closed and all others open, so there are two validating entries, and a third for enforcing
ones in an emergency: the API server itself opens those, also when neither webhook nor controller is there to see the
label. `/mutate` may be passed over, as `/validate` refuses what was not gated.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from tidegate.admission.matching import EPHEMERAL, PODS, Object, all_namespaces, in_mode, resource_rules, rule
from tidegate.findings import Mode
from tidegate.policy import Operator
from tidegate.workload.places import PRESETS, GroupKind, Places

NAME = "tidegate"
TIMEOUT_S = 10

_API = "admissionregistration.k8s.io/v1"


def webhook_configurations(
    unlabelled: Mode,
    *,
    own: str,
    authority: str,
    service: str = "tidegate-webhook",
    custom: Mapping[GroupKind, Places] = PRESETS,
) -> Sequence[Object]:
    """Both. `unlabelled`: `policy.mode`; `own`: tidegate's namespace; `authority`: base64 of the CA's PEM."""

    def asked(path: str) -> Object:
        return {
            "clientConfig": {
                "service": {"name": service, "namespace": own, "path": path, "port": 443},
                "caBundle": authority,
            },
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT_S,
            "matchPolicy": "Equivalent",
            "objectSelector": {},
        }

    def validating(name: str, path: str, on_failure: str, namespaces: Object) -> Object:
        return {
            "name": f"{name}.tidegate.dev",
            "failurePolicy": on_failure,
            **asked(path),
            "namespaceSelector": namespaces,
            "rules": [*resource_rules(PODS, EPHEMERAL), *_custom(custom)],
        }

    enforcing, others = [Mode.ENFORCE], [mode for mode in Mode if mode is not Mode.ENFORCE]
    namespaces = partial(in_mode, unlabelled=unlabelled, own=own)
    entries = [
        validating("validate", "/validate/enforce", "Fail", namespaces(enforcing, glass=Operator.DOES_NOT_EXIST)),
        validating("validate-break-glass", "/validate/other", "Ignore", namespaces(enforcing, glass=Operator.EXISTS)),
        validating("validate-other", "/validate/other", "Ignore", namespaces(others)),
    ]
    mutating = {
        "name": "mutate.tidegate.dev",
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "IfNeeded",
        **asked("/mutate"),
        "namespaceSelector": all_namespaces(own),
        "rules": [*resource_rules(PODS), *_custom(custom)],
    }
    return [_configuration("Validating", entries), _configuration("Mutating", [mutating])]


def _custom(kinds: Mapping[GroupKind, Places]) -> list[Object]:
    """One rule a group."""
    groups: dict[str, set[str]] = {}
    for (group, kind), places in kinds.items():
        groups.setdefault(group, set()).add(places.resource or f"{kind.lower()}s")
    return [rule(group, ["*"], sorted(plurals)) for group, plurals in sorted(groups.items())]


def _configuration(kind: str, webhooks: Sequence[Object]) -> Object:
    metadata = {"name": NAME, "annotations": {"admissions.enforcer/disabled": "true"}}  # else AKS edits selectors
    return {"apiVersion": _API, "kind": f"{kind}WebhookConfiguration", "metadata": metadata, "webhooks": [*webhooks]}
