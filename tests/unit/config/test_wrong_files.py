"""Every wrong file ends in one error whose every line says where, and what to do."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import ConfigError, load, parse
from tidegate.config.document import MOST_NODES

PLACE = re.compile(
    r"^(line \d+, column \d+|[a-zA-Z'\[][^ ]*|not a mapping|the file|nested too deeply|not YAML|and \d+ more)"
)


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    words = str(caught.value)
    for line in words.splitlines():
        assert PLACE.match(line), line
    assert len(words) < 10_000
    return words


@pytest.mark.parametrize(
    "more, path, words",
    [
        ("polcy: {}", "polcy", "unknown key"),
        ("policy: {Mode: audit}", "policy.Mode", "unknown key"),
        ("policy: {exempt: [{image: x, reason: y}]}", "policy.exempt[0].image", "unknown key"),
        ("policy: {mode: strict}", "policy.mode", "'enforce', 'warn' or 'audit'"),
        ("policy: {mode: off}", "policy.mode", "'enforce', 'warn' or 'audit'"),
        ("policy: {tags: maybe}", "policy.tags", "'require-digest', 'pin' or 'allow'"),
        ("policy: {unlisted: maybe}", "policy.unlisted", "'require-digest', 'allow' or 'deny'"),
        ("policy: {cannotHold: maybe}", "policy.cannotHold", "'default', 'warn' or 'deny'"),
        ("policy: {hold: {then: maybe}}", "policy.hold.then", "'keep' or 'release'"),
        ("policy: {verdicts: {missing: hold}}", "policy.verdicts.missing", "'absent'"),
        ("policy: {verdicts: {absent: refuse}}", "policy.verdicts.absent", "'hold' or 'deny'"),
        ("policy: {verdicts: {ok: deny}}", "policy.verdicts.ok", "always allowed"),
        ("policy: {verdicts: {exempt: deny}}", "policy.verdicts.exempt", "always allowed"),
        ("policy: {patience: 1}", "policy.patience", "write it like 1s"),
        ("policy: {patience: soon}", "policy.patience", "write it like 1s"),
        ("policy: {patience: -1s}", "policy.patience", "write it like 1s"),
        ("policy: {patience: ''}", "policy.patience", "write it like 1s"),
        ("policy: {grandfather: maybe}", "policy.grandfather", "boolean"),
        ("policy: {exempt: [{images: [nginx], reason: x}]}", "policy.exempt[0].images", "DOMAIN/PATH"),
        ("policy: {exempt: [{images: [docker.io/a], reason: x}]}", "policy.exempt[0].images", "docker.io/library/a"),
        ("policy: {exempt: [{images: ['r.example/*']}]}", "policy.exempt[0].reason", "required"),
        ("policy: {exempt: [{namespaces: [a], reason: ''}]}", "policy.exempt[0].reason", "at least 1"),
        ("policy: {exempt: [{reason: x}]}", "policy.exempt[0]", "would exempt all"),
        ("policy: {exempt: [{images: [], users: [], reason: x}]}", "policy.exempt[0]", "would exempt all"),
        ("policy: {exempt: [{labels: {}, reason: x}]}", "policy.exempt[0]", "would exempt all"),
        ("policy: {exempt: [{labels: {matchLabels: {}}, reason: x}]}", "policy.exempt[0]", "would exempt all"),
        ("policy: {rules: [{mode: audit}]}", "policy.rules[0].namespaces", "required"),
        ("policy: {rules: [{namespaces: {matchLabels: {a: 1}}}]}", "policy.rules[0].namespaces.matchLabels.a", ""),
        ("policy: {rules: [{namespaces: {matchLabels: {a: on}}}]}", "policy.rules[0].namespaces.matchLabels.a", ""),
        (
            "policy: {rules: [{namespaces: {matchExpressions: [{key: a, operator: Is}]}}]}",
            "policy.rules[0].namespaces.matchExpressions[0].operator",
            "'In', 'NotIn', 'Exists' or 'DoesNotExist'",
        ),
        (
            "policy: {rules: [{namespaces: {matchExpressions: [{key: a, operator: In}]}}]}",
            "policy.rules[0].namespaces.matchExpressions[0].values",
            "needed with In",
        ),
        (
            "policy: {rules: [{namespaces: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]}",
            "policy.rules[0].namespaces.matchExpressions[0].values",
            "refused with Exists",
        ),
        ("policy: {rules: [{namespaces: {}, rules: []}]}", "policy.rules[0].rules", "unknown key"),
        ("policy: [1]", "policy", "dictionary"),
        ("workloads: [{kind: Widget, images: [/a]}]", "workloads[0].group", "required"),
        ("workloads: [{group: example.com, kind: Widget}]", "workloads[0]", "at least one of templates"),
        ("workloads: [{group: e.com/v1, kind: W, images: [/a]}]", "workloads[0]", "without a version"),
        ("workloads: [{group: e.com, kind: 'W/x', images: [/a]}]", "workloads[0]", "without a version"),
        ("workloads: [{group: apps, kind: Deployment, images: [/a]}]", "workloads[0]", "cannot be overruled"),
        ("workloads: [{group: e.com, kind: W, images: [spec.image]}]", "workloads[0].images", "write it like /spec/"),
        ("workloads: [{group: e.com, kind: W, podSpecs: [/a/]}]", "workloads[0].podSpecs", "write it like /spec/"),
        ("workloads: [{group: e.com, kind: W, templates: [/a//b]}]", "workloads[0].templates", "write it like /spec/"),
        ("workloads: [{group: e.com, kind: W, images: [/a], resource: W}]", "workloads[0].resource", "like widgets"),
        (
            "workloads: [{group: e.com, kind: W, images: [/a]}, {group: e.com, kind: W, images: [/b]}]",
            "workloads",
            "W of e.com: given twice",
        ),
        ("cluster: {platforms: []}", "cluster.platforms", "at least one"),
        ("cluster: {platforms: [amd64]}", "cluster.platforms", "linux/amd64"),
        ("cluster: {platforms: [linux/amd64/v1/x]}", "cluster.platforms", "linux/amd64"),
        ("cluster: {platforms: ['linux/ amd64']}", "cluster.platforms", "linux/amd64"),
        ("cluster: {platforms: linux/amd64}", "cluster.platforms", "list"),
        ("cluster: {name: 2024-01-31}", "cluster.name", "string"),
        ("prePull: {heavyBytes: big}", "prePull.heavyBytes", "1Gi"),
        ("prePull: {heavyBytes: -1}", "prePull.heavyBytes", "1Gi"),
        ("prePull: {heavyBytes: true}", "prePull.heavyBytes", "1Gi"),
        ("prePull: {perNode: 0}", "prePull.perNode", "greater than or equal to 1"),
        ("prePull: {startupTaint: perhaps}", "prePull.startupTaint", "boolean"),
        ('policy: {"a\\nb": 1}', "policy.'a\\\\nb'", "unknown key"),
        ('policy: {"a[0]": 1}', "policy.'a\\[0\\]'", "unknown key"),
        ("policy: {str: 1}", "policy.str", "unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_path(base: str, more: str, path: str, words: str) -> None:
    pattern = path.replace("[0]", r"\[0\]") if "\\[" not in path else path
    assert re.search(rf"^{pattern}: .*{re.escape(words)}", complaint(base + more), re.MULTILINE)


@pytest.mark.parametrize(
    "more, path, words",
    [
        ("local: c", ".local", "no replica is called 'c'; there are a, b"),
        ("home: c", ".home", "no replica is called 'c'"),
        ("failover: [c]", ".failover", "no replica is called 'c'"),
        ("failover: [b, b]", ".failover", "a replica is named twice"),
        ("local: [a, a]", ".local", "a replica is named twice"),
        ("local: []", ".local", "at least 1"),
        ("local: 3", ".local", "valid string"),
        ("local: [3]", ".local[0]", "valid string"),
        ("auth: []", ".auth", "at least 1"),
        ("auth: [{}]", ".auth[0]", "exactly one of anonymous, basic"),
        ("auth: [{azur: {}}]", ".auth[0].azur", "unknown key"),
        ("auth: [{azure: {secret: s}}]", ".auth[0].azure.secret", "unknown key"),
        ("auth: [{azure: {identity: me}}]", ".auth[0].azure.identity", "'auto', 'workload' or 'managed'"),
        ("auth: [{azure: {clientId: ''}}]", ".auth[0].azure.clientId", "at least 1"),
        ("auth: [{azure: {identity: managed, tenantId: t}}]", ".auth[0].azure.tenantId", "leave it out"),
        ("auth: [{azure: {}, ecr: {}}]", ".auth[0]", "exactly one of"),
        ("auth: [{ecr: {region: eu-west-1}}]", ".auth[0].ecr.region", "unknown key"),
        ("auth: [{artifactRegistry: {credentialsFile: ''}}]", ".auth[0].artifactRegistry.credentialsFile", "least 1"),
        ("auth: [{anonymous: {}, basic: {username: u, password: p}}]", ".auth[0]", "exactly one of"),
        ("auth: [{anonymous: {}, dockerConfig: {file: f}}]", ".auth[0]", "exactly one of"),
        ("auth: [{dockerConfig: {}}]", ".auth[0].dockerConfig.file", "required"),
        ("auth: [{dockerConfig: {file: ''}}]", ".auth[0].dockerConfig.file", "at least 1"),
        ("auth: [{credentialProvider: {config: c}}]", ".auth[0].credentialProvider.binDir", "required"),
        ("auth: [{pullSecrets: {}}]", ".auth[0].pullSecrets.namespaces", "required"),
        ("auth: [{pullSecrets: {namespaces: []}}]", ".auth[0].pullSecrets.namespaces", "at least 1"),
        ('auth: [{pullSecrets: {namespaces: ["*"]}}]', ".auth[0].pullSecrets.namespaces", "without patterns"),
        ("auth: [{credentialProvider: {config: c, binDir: b, x: y}}]", ".auth[0].credentialProvider.x", "unknown key"),
        ("auth: [{basic: {username: u}}]", ".auth[0].basic", "either password or passwordFile"),
        ("auth: [{basic: {username: u, password: p, passwordFile: f}}]", ".auth[0].basic", "either password or"),
        ("auth: [{basic: {username: '', password: p}}]", ".auth[0].basic.username", "at least 1"),
        ("auth: [{basic: {username: u, password: 12345}}]", ".auth[0].basic.password", "valid string"),
        ("limits: {burst: 0}", ".limits.burst", "greater than or equal to 1"),
        ("limits: {requestsPerSecond: 0}", ".limits.requestsPerSecond", "greater than 0"),
        ("limits: {requestsPerSecond: .nan}", ".limits.requestsPerSecond", ""),
        ("limits: {requestsPerSecond: .inf}", ".limits.requestsPerSecond", ""),
        ("limits: {connections: 100000}", ".limits.connections", "less than or equal to 1024"),
        ("pulls: {inFlight: 5, maxInFlight: 4}", ".pulls.maxInFlight", "may not be below inFlight"),
        ("pulls: {requestsPerSecond: 5, maxRequestsPerSecond: 4}", ".pulls.maxRequestsPerSecond", "may not be below"),
    ],
)  # fmt: skip
def test_so_is_one_of_a_registry(of_registry: Callable[[str], str], more: str, path: str, words: str) -> None:
    assert re.search(
        rf"^registries\[0\]{re.escape(path)}: .*{re.escape(words)}", complaint(of_registry(more)), re.MULTILINE
    )


@pytest.mark.parametrize(
    "endpoint, words",
    [
        ("http://a.example", "plainHTTP"),
        ("http://10.0.0.1:5000", "plainHTTP"),
        ("http://localhost.evil.example", "plainHTTP"),
        ("http://127.0.0.1.evil.example", "plainHTTP"),
        ("http://0.0.0.0", "plainHTTP"),
        ("a.example", "write it like https://"),
        ("ftp://a.example", "write it like https://"),
        ("https://", "write it like https://"),
        ("", "write it like https://"),
        ("https://a b.example", "write it like https://"),
        ("https://a\\nb.example", "write it like https://"),
        ("https://\\u00e4.example", "write it like https://"),
        ("https://user:secret@a.example", "no credentials"),
        ("https://a.example/v2", "no /v2"),
        ("https://a.example/v2/", "no /v2"),
        ("https://a.example/docker/v2", "no /v2"),
        ("https://a.example/a/../b", "a plain path"),
        ("https://a.example//b", "a plain path"),
        ("https://a.example/%2e%2e/b", "a plain path"),
        ("https://a.example/{path}", "a plain path"),
        ("https://a.example?x", "no query"),
        ("https://a.example#x", "no query"),
        ("https://a.example:99999", "endpoint"),
        ("https://a.example:x", "endpoint"),
        ("https://[::1", "Invalid IPv6"),
    ],
)
def test_an_endpoint_that_is_none(base: str, endpoint: str, words: str) -> None:
    said = complaint(base.replace("https://a.example", endpoint))
    assert said.startswith("registries[0].replicas.a.endpoint: ")
    assert words in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("r.example", "R EX", "is not a registry host"),
        ("r.example", "index.docker.io", "references spell this host 'docker.io'"),
        ("r.example", "https://r.example", "is not a registry host"),
        ("r.example", "r.example/team", "references spell this host 'r.example'"),
        ("r.example", "nodots", "references spell this host 'docker.io'"),
        ("v1alpha1", "v2", "apiVersion: Input should be 'tidegate.dev/v1alpha1'"),
        ("kind: Config", "kind: Other", "kind: Input should be 'Config'"),
        ("kind: Config\n", "", "kind: required"),
        ("    replicas:", "    replica:", "registries[0].replicas: required"),
        ("  - host: r.example\n    ", "  - ", "registries[0].host: required"),
        ("      a:", "      'a b':", "registries[0].replicas: 'a b' is no name for a replica"),
        ("      a:", '      "a\\nb":', "is no name for a replica"),
        ("      a:", "      1:", "Input should be a valid string"),
        ("      b:", "      a:", "line 7, column 7: the key 'a' is given twice"),
        ("kind: Config", "kind: Config\nkind: Config", "the key 'kind' is given twice"),
    ],
)  # fmt: skip
def test_what_is_required_and_what_is_given_twice(base: str, old: str, new: str, words: str) -> None:
    assert words in complaint(base.replace(old, new))


def test_a_host_is_listed_once(base: str) -> None:
    twice = base + "  - host: r.example\n    replicas: {c: {endpoint: 'https://c.example'}}\n"
    assert complaint(twice) == "registries: r.example: listed twice"


def test_all_complaints_come_together_but_not_without_end(base: str) -> None:
    said = complaint(base + "".join(f"x{number}: 1\n" for number in range(15)))
    assert len(said.splitlines()) == 11
    assert said.endswith("and 5 more")


LAUGH = "x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{n}: &x{n} {{<<: [{','.join([f'*x{n - 1}'] * 10)}]}}\n" for n in range(1, 9))


@pytest.mark.parametrize(
    "text, words",
    [
        pytest.param("", "not a mapping", id="empty"),
        pytest.param("# nothing", "not a mapping", id="a comment"),
        pytest.param("- a", "not a mapping", id="a list"),
        pytest.param("text", "not a mapping", id="text"),
        pytest.param("a: 1\n---\nb: 2", "line 2, column 1", id="two documents"),
        pytest.param("a: [", "line 1, column", id="cut off"),
        pytest.param("a:\n\t- b", "line 2, column 1", id="tab"),
        pytest.param("a: *b", "undefined alias", id="undefined alias"),
        pytest.param("a: \0", "not YAML: unacceptable character", id="NUL"),
        pytest.param('a: "\\0"', "line 1, column 4: control characters", id="escaped NUL"),
        pytest.param('a: "\\e[31m"', "line 1, column 4: control characters", id="terminal escape"),
        pytest.param('a: "\\uD800"', "line 1, column 4: control characters", id="lone surrogate"),
        pytest.param("a: !!python/object/apply:os.system [true]", "could not determine a constructor", id="python tag"),
        pytest.param("a: !!int x", "line 1, column 4: not a value of its kind (int)", id="no int"),
        pytest.param("a: !!bool x", "not a value of its kind (bool)", id="no bool"),
        pytest.param("a: !!timestamp x", "not a value of its kind (timestamp)", id="no timestamp"),
        pytest.param("a: 2024-13-45", "line 1, column 4: not a value of its kind (timestamp)", id="no date"),
        pytest.param("a: " + "9" * 5000, "line 1, column 4: not a value of its kind (int)", id="5,000 digits"),
        pytest.param("? [a, b]\n: 1", "unhashable key", id="a list as a key"),
        pytest.param("a: " + "[" * 100_000, "nested too deeply", id="deep lists"),
        pytest.param("a: " + "{b: " * 100_000, "nested too deeply", id="deep mappings"),
        pytest.param("a: &a [*a]", "this anchor contains itself", id="an anchor in itself"),
        pytest.param("a: &a {b: {c: *a}}", "this anchor contains itself", id="deep in itself"),
        pytest.param(LAUGH, f"more than {MOST_NODES} values", id="billion laughs"),
        pytest.param(MERGES, f"more than {MOST_NODES} values", id="billion merges"),
        pytest.param("1: 2", "[1]", id="keys that are no text"),
        pytest.param("null: 2", "None: Keys should be strings", id="a null key"),
    ],
)
def test_yaml_that_is_none_or_hostile(text: str, words: str) -> None:
    began = time.perf_counter()
    assert words in complaint(text)
    assert time.perf_counter() - began < 5


def test_a_registry_repeated_by_alias_is_bounded(base: str) -> None:
    text = base.replace("registries:\n  - host", "x: &r\n  - host") + f"registries: [{','.join(['*r'] * 30_000)}]\n"
    assert "values, with every alias written out" in complaint(text)


@pytest.mark.parametrize(
    "content, words",
    [
        pytest.param(b"\xff\xfe\x00k", "not UTF-8 (byte 0)", id="UTF-16"),
        pytest.param(b"kind: \xc3(", "not UTF-8 (byte 6)", id="broken UTF-8"),
        pytest.param(bytes(range(256)), "not UTF-8", id="binary"),
        pytest.param(b"#" * ((1 << 20) + 1), "larger than 1048576 bytes", id="huge"),
        pytest.param(b"a: 1\nb: [", "line 2", id="broken YAML"),
        pytest.param(b"a: 1\nb: 2", "b: unknown key", id="several complaints"),
    ],
)
def test_every_line_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert words in str(caught.value)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "name, words",
    [("missing.yaml", "No such file"), (".", "Is a directory"), ("missing/x.yaml", "No such file")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path / name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["registries", "policy", "cluster", "prePull", "apiVersion", "kind"]


def words_of(text: str) -> str:
    """What is said of a text; nothing of one that is a configuration."""
    try:
        parse(text)
    except ConfigError as exc:
        return str(exc) or "no words"
    return ""


@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_document_ends_in_words(document: dict[str, object]) -> None:
    said = words_of(yaml.safe_dump(document, allow_unicode=True))
    assert all(PLACE.match(line) for line in said.splitlines())


@given(text=st.text(max_size=60))
def test_so_does_any_text(text: str) -> None:
    assert words_of(text)
