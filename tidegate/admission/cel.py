"""Pieces of CEL: literals, label selectors, choices by rule."""

import json
from collections.abc import Iterable, Sequence

from tidegate.policy import Operator, Policy, Requirement, Selector, Settings


def text(value: str) -> str:
    """A string literal; JSON's escapes are CEL's too."""
    return json.dumps(value, ensure_ascii=False)


def texts(values: Iterable[str]) -> str:
    """A list literal, sorted: the same configuration always gives the same expression."""
    return f"[{', '.join(text(value) for value in sorted(values))}]"


def all_of(conditions: Iterable[str]) -> str:
    """Conjunction; `true` of none."""
    return " && ".join(conditions) or "true"


def any_of(conditions: Iterable[str]) -> str:
    """Disjunction, in brackets; `false` of none."""
    given = list(conditions)
    return f"({' || '.join(given)})" if given else "false"


def selects(selector: Selector, labels: str) -> str:
    """Whether the selector matches; `labels`: an expression of a map. In brackets."""
    equal = (Requirement(key, Operator.IN, frozenset({value})) for key, value in sorted(selector.labels.items()))
    return f"({all_of(_holds(one, labels) for one in (*equal, *selector.requirements))})"


def _holds(requirement: Requirement, labels: str) -> str:
    key = text(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return f"({key} in {labels} && {labels}[{key}] in {texts(requirement.values)})"
        case Operator.NOT_IN:
            return f"(!({key} in {labels}) || !({labels}[{key}] in {texts(requirement.values)}))"
        case Operator.EXISTS:
            return f"{key} in {labels}"
        case Operator.DOES_NOT_EXIST:
            return f"!({key} in {labels})"


def rule_of(policy: Policy, labels: str) -> str:
    """The number of the first rule that matches a namespace's labels; past the last: the policy itself."""
    chosen = "".join(f"{selects(rule.namespaces, labels)} ? {n} : " for n, rule in enumerate(policy.rules))
    return f"{chosen}{len(policy.rules)}"


def choices(policy: Policy) -> Sequence[Settings]:
    """Settings by the number that `rule_of` gives."""
    return (*(rule.settings for rule in policy.rules), policy.base)


def by_rule(values: Iterable[str | bool], rule: str) -> str:
    """The value at that number. One that all rules share is written once."""
    given = [text(value) if isinstance(value, str) else str(value).lower() for value in values]
    return given[0] if len(set(given)) == 1 else f"[{', '.join(given)}][{rule}]"
