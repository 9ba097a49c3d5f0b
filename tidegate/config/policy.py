"""The `policy:` part of the file → `tidegate.policy.Policy`: defaults filled in, patterns compiled."""

from tidegate.config.model import Exemption as ExemptionConfig
from tidegate.config.model import LabelSelector, PolicyChoices, PolicyConfig
from tidegate.policy import (
    CannotHold,
    Exemption,
    ImagePattern,
    Operator,
    Policy,
    Requirement,
    Rule,
    Selector,
    Settings,
    Tags,
    Unlisted,
)


def compile_policy(config: PolicyConfig) -> Policy:
    """A rule takes from the policy above what it leaves out; verdicts are chosen one by one."""
    base = _settings(config, Settings())
    return Policy(
        base=base,
        rules=tuple(Rule(_selector(rule.namespaces), _settings(rule, base)) for rule in config.rules),
        exemptions=tuple(_exemption(exemption) for exemption in config.exempt),
    )


def _settings(chosen: PolicyChoices, above: Settings) -> Settings:
    return Settings(
        mode=chosen.mode or above.mode,
        tags=Tags(chosen.tags) if chosen.tags else above.tags,
        unlisted=Unlisted(chosen.unlisted) if chosen.unlisted else above.unlisted,
        verdicts={**above.verdicts, **chosen.verdicts},
        patience_s=above.patience_s if chosen.patience is None else chosen.patience,
        cannot_hold=CannotHold(chosen.cannot_hold) if chosen.cannot_hold else above.cannot_hold,
        grandfather=above.grandfather if chosen.grandfather is None else chosen.grandfather,
        exempt_annotation=above.exempt_annotation if chosen.exempt_annotation is None else chosen.exempt_annotation,
        hold_deadline_s=above.hold_deadline_s if chosen.hold is None else chosen.hold.deadline,
        hold_releases=above.hold_releases if chosen.hold is None else chosen.hold.then == "release",
    )


def _selector(config: LabelSelector) -> Selector:
    return Selector(
        labels=dict(config.match_labels),
        requirements=tuple(
            Requirement(one.key, Operator(one.operator), frozenset(one.values)) for one in config.match_expressions
        ),
    )


def _exemption(config: ExemptionConfig) -> Exemption:
    return Exemption(
        images=tuple(ImagePattern.parse(text) for text in config.images),
        namespaces=frozenset(config.namespaces),
        users=frozenset(config.users),
        labels=_selector(config.labels) if config.labels is not None else None,
        reason=config.reason,
    )
