"""The static half as a policy that the API server enforces alone, also while tidegate is down.

`malformed`, `not-pinned` and `unlisted` show in the text of an image, so they need nobody. Guarantees: what
`tidegate.policy.static_finding` and its verdict would not deny in the namespace is not refused here; where CEL cannot
know as much (what runs already, custom resources, objects of very many images), this is the milder one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from tidegate.admission import grammar
from tidegate.admission.cel import all_of, any_of, by_rule, choices, rule_of, selects, text, texts
from tidegate.admission.matching import EPHEMERAL, PODS, Object, resource_rules
from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import (
    BREAK_GLASS_LABEL,
    DEFAULT_VERDICTS,
    EFFECTIVE_MODE_LABEL,
    EXEMPT_ANNOTATION,
    MODE_LABEL,
    REFERENCE_LIMIT,
    Exemption,
    Policy,
    Settings,
    Tags,
    Unlisted,
)
from tidegate.workload.view import MIRROR_ANNOTATION

MOST_IMAGES = 200
"""Of one object; one with more is left to the webhook, as comparing old with new costs their product."""
_COST = 500_000
"""Half of what the API server lets one expression cost: images whose matching may cost more are the webhook's."""
_COST_OF_A_MATCH = 40
"""Characters of text times characters of expression for one unit of cost."""

_SHOWN = "size(p[0]) > 160 ? string(p[0]).substring(0, 160) + '...' : string(p[0])"


def spec(policy: Policy, hosts: Collection[str]) -> Object:
    """Of the ValidatingAdmissionPolicy. `hosts`: the listed registries."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "excludeResourceRules": [],
            "resourceRules": resource_rules(PODS, EPHEMERAL),
        },
        "matchConditions": [],
        "variables": [{"name": name, "expression": said} for name, said in _variables(policy, hosts).items()],
        "validations": [*_validations()],
    }


def _variables(policy: Policy, hosts: Collection[str]) -> Mapping[str, str]:
    """In their order: each may look at those before."""
    patterns = [(one, grammar.of_pattern(p, hosts)) for one in policy.exemptions for p in one.images]
    listed = grammar.of_hosts(hosts) if hosts else ""
    matched = grammar.PARSED_LENGTH + 2 * (len(listed) + sum(len(expression) for _, expression in patterns))
    most = _COST * _COST_OF_A_MATCH // matched
    exempt = any_of(all_of([*_conditions(one), f"p[1].matches({text(said)})"]) for one, said in patterns)
    is_listed = f"p[1].matches({text(listed)})" if listed else "false"
    return {
        "labels": "namespaceObject.metadata.?labels.orValue({})",
        "rule": rule_of(policy, "variables.labels"),
        "pod": "request.kind.kind == 'Pod'",
        "template": _template("object"),
        "owners": "dyn(object).metadata.?ownerReferences.orValue([]).filter(o, o.?controller.orValue(false))",
        "passes": any_of(_passes(policy)),
        "written": f"variables.passes ? [] : {_images('variables.template')}",
        "before": f"variables.passes || request.operation != 'UPDATE' ? [] : {_images(_template('oldObject'))}",
        "light": (
            f"size(variables.written) <= {MOST_IMAGES} && size(variables.before) <= {MOST_IMAGES}"
            f" && variables.written.map(i, size(i) > {REFERENCE_LIMIT} ? 0 : size(i)).sum() <= {most}"
        ),
        "fresh": "variables.light ? variables.written.filter(i, !(i in variables.before)) : []",
        "parsed": grammar.parsed("variables.fresh"),
        "tags": _tags(policy),
        "unlisted": _by_rule(policy, lambda settings: settings.unlisted.value),
        "malformed": _found(policy, Finding.MALFORMED, "p[1] == ''"),
        "unpinned": _found(
            policy,
            Finding.NOT_PINNED,
            f"p[1] != '' && !p[1].contains('@') && ({is_listed} ? variables.tags != {text(Tags.ALLOW)}"
            f" : variables.unlisted == {text(Unlisted.REQUIRE_DIGEST)}) && !{exempt}",
        ),
        "foreign": _found(
            policy,
            Finding.UNLISTED,
            f"p[1] != '' && variables.unlisted == {text(Unlisted.DENY)} && !{is_listed} && !{exempt}",
        ),
    }


def _template(of: str) -> str:
    """Of an object of any of the kinds: what has metadata and a pod's spec."""
    return (
        f"variables.pod ? dyn({of}) : request.kind.kind == 'PodTemplate' ? dyn({of}).?template.orValue({{}})"
        f" : request.kind.kind == 'CronJob' ? dyn({of}).spec.jobTemplate.spec.template"
        f" : dyn({of}).spec.?template.orValue({{}})"
    )


def _images(of: str) -> str:
    """All image strings of a Pod or template; empty ones are none."""
    lists = ("containers", "initContainers", "ephemeralContainers")
    containers = " + ".join(f"({of}).?spec.?{name}.orValue([]).map(c, c.?image.orValue(''))" for name in lists)
    volumes = f"({of}).?spec.?volumes.orValue([]).map(v, v.?image.?reference.orValue(''))"
    return f"({containers} + {volumes}).filter(i, i != '')"


def _passes(policy: Policy) -> Sequence[str]:
    """Who is not judged at all."""
    said = any(one.exempt_annotation for one in choices(policy))
    settled = (
        f"({text(EFFECTIVE_MODE_LABEL)} in variables.labels"
        f" || {_mode(policy)} == {text(policy.base.mode)})"  # else the binding may be another mode's
    )
    return (
        f"variables.labels[?{text(BREAK_GLASS_LABEL)}].orValue('false') != 'false'",
        "(request.operation == 'UPDATE' && has(object.metadata.deletionTimestamp))",
        f"({_MIRROR})",
        f"({_BORN_OWNED} && {_by_rule(policy, lambda one: one.grandfather)})",
        *([f"({_by_rule(policy, lambda one: one.exempt_annotation)} && {_EXEMPT})"] if said else []),
        f"!{settled}",
        *(f"({all_of(_conditions(one))})" for one in policy.exemptions if not one.images),
    )


_EXEMPT = (
    "(has(variables.template.metadata) ? variables.template : dyn(object)).metadata"
    f".?annotations[?{text(EXEMPT_ANNOTATION)}].orValue('').trim() != ''"
)
_BORN_OWNED = "variables.pod && request.operation == 'CREATE' && size(variables.owners) > 0"
"""What it names may have run before, which only the webhook knows."""
_MIRROR = (
    "variables.pod && 'system:nodes' in request.userInfo.?groups.orValue([])"
    f" && {text(MIRROR_ANNOTATION)} in dyn(object).metadata.?annotations.orValue({{}})"
    " && dyn(object).spec.?nodeName.orValue('') != '' && variables.owners.exists(o, o.kind == 'Node')"
)


def _mode(policy: Policy) -> str:
    """As `tidegate.policy.mode_of`, break-glass aside."""
    own = f"variables.labels[?{text(MODE_LABEL)}].orValue('')"
    chosen = _by_rule(policy, lambda settings: settings.mode.value)
    return f"({own} in {texts(Mode)} ? {own} : {chosen})"


def _conditions(exemption: Exemption) -> Sequence[str]:
    """What an exemption asks for besides images."""
    conditions = []
    if exemption.namespaces:
        conditions.append(f"request.namespace in {texts(exemption.namespaces)}")
    if exemption.users:
        conditions.append(f"request.userInfo.username in {texts(exemption.users)}")
    if exemption.labels is not None:
        of = "(has(variables.template.metadata) ? variables.template : dyn(object)).metadata.?labels.orValue({})"
        conditions.append(selects(exemption.labels, of))
    return conditions


def _tags(policy: Policy) -> str:
    """Where tags are pinned, what a controller made may keep its tag, and its Pods are pinned."""
    chosen = _by_rule(policy, lambda settings: settings.tags.value)
    owned = "!variables.pod && size(variables.owners) > 0"
    return f"{chosen} == {text(Tags.PIN)} && {owned} ? {text(Tags.ALLOW)} : {chosen}"


def _by_rule(policy: Policy, value: Callable[[Settings], str | bool]) -> str:
    return by_rule([value(settings) for settings in choices(policy)], "variables.rule")


def _found(policy: Policy, finding: Finding, condition: str) -> str:
    """The images with this finding, where the verdict on it is to deny; what is milder is left to the webhook."""
    denied = _by_rule(policy, lambda one: one.verdicts.get(finding, DEFAULT_VERDICTS.get(finding)) is Verdict.DENY)
    return f"{denied} ? variables.parsed.filter(p, {condition}) : []"


def _validations() -> Sequence[Object]:
    said = {
        "malformed": ("is no image reference; write it like registry.example.com/app@sha256:...", Finding.MALFORMED),
        "unpinned": ("is not pinned by digest; write it like NAME@sha256:...", Finding.NOT_PINNED),
        "foreign": ("is from a registry that is not listed; use one that is, or have it listed", Finding.UNLISTED),
    }
    return [
        {
            "expression": f"size(variables.{name}) == 0",
            "message": f"{finding}: an image {words}",
            "messageExpression": f"{text(f'{finding}: ')} + variables.{name}.map(p, {_SHOWN})[0] + {text(f' {words}')}",
            "reason": "Forbidden",
        }
        for name, (words, finding) in said.items()
    ]
