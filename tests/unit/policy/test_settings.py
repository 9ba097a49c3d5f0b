"""How a namespace's labels choose its settings and its mode."""

import pytest

from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import (
    BREAK_GLASS_LABEL,
    MODE_LABEL,
    Operator,
    Policy,
    Requirement,
    Rule,
    Selector,
    Settings,
    breaks_glass,
    mode_of,
)

PROD = Rule(Selector(labels={"env": "prod"}), Settings(mode=Mode.ENFORCE))
TEAM = Rule(Selector(requirements=(Requirement("team", Operator.EXISTS),)), Settings(mode=Mode.WARN))
POLICY = Policy(base=Settings(mode=Mode.AUDIT), rules=(PROD, TEAM))


@pytest.mark.parametrize(
    "labels, mode",
    [
        pytest.param({"env": "prod"}, "enforce", id="the rule that matches"),
        pytest.param({"env": "prod", "team": "a"}, "enforce", id="the first of two"),
        pytest.param({"team": "a"}, "warn", id="the second where the first does not"),
        pytest.param({"env": "test"}, "audit", id="none: the policy's own"),
        pytest.param({}, "audit", id="no labels"),
    ],
)
def test_the_first_rule_that_matches_counts(labels: dict[str, str], mode: str) -> None:
    assert POLICY.settings_for(labels).mode.value == mode


@pytest.mark.parametrize(
    "labels, mode",
    [
        pytest.param({}, "enforce", id="the settings' own"),
        pytest.param({MODE_LABEL: "audit"}, "audit", id="the namespace's own label"),
        pytest.param({MODE_LABEL: "warn"}, "warn", id="of all three"),
        pytest.param({MODE_LABEL: "off"}, "enforce", id="junk is passed over"),
        pytest.param({MODE_LABEL: ""}, "enforce", id="so is nothing"),
        pytest.param({MODE_LABEL: "Audit"}, "enforce", id="and another case"),
        pytest.param({BREAK_GLASS_LABEL: "true"}, "audit", id="break-glass"),
        pytest.param({BREAK_GLASS_LABEL: "true", MODE_LABEL: "enforce"}, "audit", id="before the own label"),
        pytest.param({BREAK_GLASS_LABEL: ""}, "audit", id="with any value"),
        pytest.param({BREAK_GLASS_LABEL: "false"}, "enforce", id="but false"),
        pytest.param({BREAK_GLASS_LABEL: "false", MODE_LABEL: "warn"}, "warn", id="then as without"),
    ],
)
def test_mode(labels: dict[str, str], mode: str) -> None:
    assert mode_of(labels, Settings(mode=Mode.ENFORCE)).value == mode
    assert breaks_glass(labels) is (labels.get(BREAK_GLASS_LABEL) not in {None, "false"})


def test_the_labels_that_rules_look_at() -> None:
    assert POLICY.label_keys == {"env", "team"}
    assert Policy().label_keys == frozenset()


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert (settings.mode.value, settings.tags.value, settings.unlisted.value) == (
        "audit",
        "require-digest",
        "require-digest",
    )
    assert (settings.cannot_hold.value, settings.grandfather, settings.verdicts) == ("default", True, {})
    assert settings.patience_s is None
    assert Finding.UNREACHABLE not in settings.verdicts
    assert Verdict.HOLD.value == "hold"


@pytest.mark.parametrize(
    "requirement, labels, holds",
    [
        (Requirement("a", Operator.IN, frozenset({"1", "2"})), {"a": "2"}, True),
        (Requirement("a", Operator.IN, frozenset({"1"})), {"a": "2"}, False),
        (Requirement("a", Operator.IN, frozenset({""})), {}, False),
        (Requirement("a", Operator.NOT_IN, frozenset({"1"})), {"a": "2"}, True),
        (Requirement("a", Operator.NOT_IN, frozenset({"1"})), {"a": "1"}, False),
        (Requirement("a", Operator.NOT_IN, frozenset({"1"})), {}, True),
        (Requirement("a", Operator.EXISTS), {"a": ""}, True),
        (Requirement("a", Operator.EXISTS), {"b": ""}, False),
        (Requirement("a", Operator.DOES_NOT_EXIST), {"b": ""}, True),
        (Requirement("a", Operator.DOES_NOT_EXIST), {"a": ""}, False),
    ],
)
def test_requirements_mean_what_kubernetes_means(
    requirement: Requirement, labels: dict[str, str], *, holds: bool
) -> None:
    assert requirement.holds(labels) is holds
    assert Selector(requirements=(requirement,)).matches(labels) is holds


def test_all_of_a_selector_must_hold() -> None:
    selector = Selector(labels={"a": "1"}, requirements=(Requirement("b", Operator.EXISTS),))
    assert selector.matches({"a": "1", "b": "x"})
    assert not selector.matches({"a": "1"})
    assert not selector.matches({"b": "x"})
    assert Selector().matches({})
    assert selector.keys == {"a", "b"}
