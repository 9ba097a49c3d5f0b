"""The policy that guards the namespace labels by which a mode is decided.

Whoever may edit a namespace could otherwise take it out of the gate: `tidegate.dev/*` and every label key that a rule
looks at are changed only by who holds the verb `gate` on the namespace, and `effective-mode` by the controller too.
"""

from tidegate.admission.cel import text, texts
from tidegate.admission.matching import Object, rule
from tidegate.policy import EFFECTIVE_MODE_LABEL, NAME_LABEL, Policy

GATE_VERB = "gate"
PREFIX = "tidegate.dev/"

_DESCRIPTION = (
    "these labels decide how tidegate gates the namespace; changing them takes the verb "
    f'"{GATE_VERB}" on namespaces: ask whoever runs tidegate to bind you the ClusterRole tidegate-gate'
)


def spec(policy: Policy, *, own: str) -> Object:
    """Of the ValidatingAdmissionPolicy; `own`: the namespace of the controller's ServiceAccount."""
    keys = policy.label_keys - {NAME_LABEL}  # the API server itself keeps that one
    controller = text(f"system:serviceaccount:{own}:tidegate-controller")
    guarded = f"(k.startsWith({text(PREFIX)}) || k in {texts(keys)})"
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "excludeResourceRules": [],
            "resourceRules": [rule("", ["v1"], ["namespaces", "namespaces/finalize", "namespaces/status"])],
        },
        "matchConditions": [],
        "variables": [
            {"name": "now", "expression": "object.metadata.?labels.orValue({})"},
            {"name": "before", "expression": "oldObject == null ? {} : oldObject.metadata.?labels.orValue({})"},
            {
                "name": "changed",
                "expression": (
                    f"variables.now.filter(k, {guarded} && (!(k in variables.before)"
                    " || variables.before[k] != variables.now[k]))"
                    f" + variables.before.filter(k, {guarded} && !(k in variables.now))"
                ),
            },
        ],
        "validations": [
            {
                "expression": (
                    "variables.changed.size() == 0"
                    f" || (request.userInfo.username == {controller}"
                    f" && variables.changed.all(k, k == {text(EFFECTIVE_MODE_LABEL)}))"
                    " || authorizer.group('').resource('namespaces').name(object.metadata.name)"
                    f".check({text(GATE_VERB)}).allowed()"
                ),
                "message": _DESCRIPTION,
                "messageExpression": f"variables.changed.join(', ') + {text(': ' + _DESCRIPTION)}",
                "reason": "Forbidden",
            }
        ],
    }
