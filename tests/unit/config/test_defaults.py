"""What is left out has the value that the documentation shows, and the documented file loads."""

from pathlib import Path

import pytest

from tidegate.config import Config, load, parse
from tidegate.config.policy import compile_policy
from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import CannotHold, Settings, Tags, Unlisted
from tidegate.reference import ImageReference

DOCUMENTED = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
cluster: {name: westeurope-1, platforms: [linux/amd64]}
registries:
  - host: myregistry.azurecr.io
    home: eastus
    local: westeurope
    failover: [eastus]
    replicas:
      eastus: {endpoint: "https://myregistry.eastus.geo.azurecr.io"}
      westeurope: {endpoint: "https://myregistry.westeurope.geo.azurecr.io", caFile: /etc/tidegate/ca.pem}
      harbor: {endpoint: "https://harbor.example.com", repository: "mirror/{path}"}
    auth: [{basic: {username: u, passwordFile: /etc/tidegate/password}}, {anonymous: {}}]
    tokenHosts: [auth.example.com]
    limits: {requestsPerSecond: 20, burst: 100, connections: 32}
    pulls: {inFlight: 3, requestsPerSecond: 20, burst: 20, maxInFlight: 32, maxRequestsPerSecond: 80}
policy:
  mode: audit
  tags: require-digest
  unlisted: require-digest
  verdicts: {absent: hold, throttled: hold}
  patience: 1s
  hold: {deadline: 4m, then: keep}
  cannotHold: default
  grandfather: true
  exemptAnnotation: false
  exempt: [{images: ["mcr.microsoft.com/*"], reason: "platform images"}]
  rules:
    - {namespaces: {matchLabels: {env: prod}}, mode: enforce, tags: pin}
prePull: {heavyBytes: 1Gi, perNode: 1, startupTaint: true, deadline: 10m}
"""


def test_the_documented_file_loads() -> None:
    config = parse(DOCUMENTED)
    [registry] = config.registries
    assert (registry.home_name, registry.local_names, registry.failover) == ("eastus", ["westeurope"], ["eastus"])
    assert registry.replicas["harbor"].repository == "mirror/{path}"
    assert registry.token_hosts == ["auth.example.com"]
    assert [auth.basic is not None for auth in registry.auth] == [True, False]
    policy = compile_policy(config.policy)
    assert policy.settings_for({"env": "prod"}).mode is Mode.ENFORCE
    assert policy.exemptions[0].images[0].matches(ImageReference.parse("mcr.microsoft.com/a"))


def test_the_values_that_it_shows_are_the_defaults(base: str) -> None:
    shown, left_out = parse(DOCUMENTED), parse(base)
    [with_values], [without] = shown.registries, left_out.registries
    assert with_values.limits == without.limits
    assert with_values.pulls == without.pulls
    assert shown.pre_pull == left_out.pre_pull
    assert shown.cluster.platforms == left_out.cluster.platforms
    assert (without.home_name, without.local_names, without.failover, without.token_hosts) == ("a", ["a"], [], [])
    [auth] = without.auth
    assert auth.anonymous is not None


def test_a_policy_that_says_nothing_is_the_default_one(base: str) -> None:
    policy = compile_policy(parse(base).policy)
    assert policy.base == Settings()
    assert (policy.rules, policy.exemptions) == ((), ())


def test_a_rule_takes_from_above_what_it_leaves_out(base: str) -> None:
    text = (
        base
        + """
policy:
  mode: warn
  tags: allow
  unlisted: deny
  verdicts: {absent: deny, throttled: warn}
  patience: 2s
  cannotHold: warn
  grandfather: false
  rules:
    - {namespaces: {matchLabels: {env: prod}}}
    - namespaces: {matchExpressions: [{key: env, operator: In, values: [test]}]}
      mode: enforce
      verdicts: {absent: hold}
      grandfather: true
      patience: 0s
"""
    )
    policy = compile_policy(parse(text).policy)
    above = Settings(
        mode=Mode.WARN, tags=Tags.ALLOW, unlisted=Unlisted.DENY, patience_s=2.0, cannot_hold=CannotHold.WARN,
        grandfather=False, verdicts={Finding.ABSENT: Verdict.DENY, Finding.THROTTLED: Verdict.WARN},
    )  # fmt: skip
    assert policy.base == policy.settings_for({}) == policy.settings_for({"env": "prod"}) == above
    own = policy.settings_for({"env": "test"})
    assert own.verdicts == {Finding.ABSENT: Verdict.HOLD, Finding.THROTTLED: Verdict.WARN}
    assert (own.mode, own.grandfather, own.patience_s) == (Mode.ENFORCE, True, 0.0)
    assert (own.tags, own.unlisted, own.cannot_hold) == (Tags.ALLOW, Unlisted.DENY, CannotHold.WARN)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://a.example", "https://a.example/", "https://a.example:5000", "https://127.0.0.1:5000", "https://[::1]:5000",
        "http://localhost:5000", "http://127.0.0.1", "http://127.8.9.1:80", "http://[::1]:5000", "http://a.localhost",
        "HTTPS://A.example", "https://under_score.example",
    ],
)  # fmt: skip
def test_an_endpoint(base: str, endpoint: str) -> None:
    [registry] = parse(base.replace("https://a.example", endpoint)).registries
    assert registry.replicas["a"].endpoint == endpoint


def test_plain_http_elsewhere_only_if_asked_for(base: str) -> None:
    text = base.replace('{endpoint: "https://a.example"}', '{endpoint: "http://a.example", plainHTTP: true}')
    assert parse(text).registries[0].replicas["a"].plain_http


@pytest.mark.parametrize(
    "local, names",
    [("b", ["b"]), ("[b]", ["b"]), ("[b, a]", ["b", "a"])],
)
def test_local_is_a_name_or_a_list(base: str, local: str, names: list[str]) -> None:
    assert parse(base + f"    local: {local}\n").registries[0].local_names == names


def test_anchors_save_typing(base: str) -> None:
    text = (
        base + "cluster: {name: &n x}\npolicy: {rules: [{namespaces: &s {matchLabels: {a: *n}}}, {namespaces: *s}]}\n"
    )
    rules = parse(text).policy.rules
    assert [rule.namespaces.match_labels for rule in rules] == [{"a": "x"}, {"a": "x"}]


def test_a_password_never_shows(base: str) -> None:
    config = parse(base + "    auth: [{basic: {username: u, password: hunter2}}]\n")
    assert "hunter2" not in f"{config!r} {config} {config.model_dump()}"
    basic = config.registries[0].auth[0].basic
    assert basic is not None
    assert basic.password is not None
    assert basic.password.get_secret_value() == "hunter2"


def test_a_file_with_a_byte_order_mark_loads(base: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("\ufeff" + base, encoding="utf-8")
    assert isinstance(load(path), Config)
