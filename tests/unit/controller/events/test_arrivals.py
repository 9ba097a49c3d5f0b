"""What a registry's notification says, for what the registries send, and for a hundred bodies that mean harm."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.events.arrivals import DECODERS, MOST_ARRIVALS, Arrival, MalformedEvent, decode
from tidegate.reference import Digest, parse_digest

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def acr(**changes: Any) -> dict[str, Any]:
    """As the webhook reference shows a push."""
    target = {
        "mediaType": MANIFEST, "size": 524, "digest": DIGEST, "length": 524, "repository": "hello-world", "tag": "v1",
        **changes.pop("target", {}),
    }  # fmt: skip
    return {
        "id": "cb8c3971-9adc-488b-xxxx-43cbb4974ff5", "timestamp": "2026-11-24T16:52:01.343145347Z", "action": "push",
        "target": target,
        "request": {"id": "3cbb6949", "host": "myregistry.azurecr.io", "method": "PUT", "useragent": "docker/18.09.6"},
        **changes,
    }  # fmt: skip


def pushed(**changes: Any) -> dict[str, Any]:
    """One event as distribution 3.1 sends it."""
    target = {
        "mediaType": MANIFEST, "size": 708, "digest": DIGEST, "length": 708, "repository": "team/app",
        "url": f"http://registry.test:5000/v2/team/app/manifests/{DIGEST}", "tag": "1.2",
        **changes.pop("target", {}),
    }  # fmt: skip
    return {
        "id": "asdf-asdf", "timestamp": "2026-11-24T14:44:26.402973972Z", "action": "push", "target": target,
        "request": {"id": "x", "addr": "10.0.0.1:5000", "host": "Registry.test:5000", "method": "PUT"},
        "actor": {}, "source": {"addr": "xtal.local:5000", "instanceID": "a53db899"}, **changes,
    }  # fmt: skip


def envelope(*events: Any) -> dict[str, Any]:
    return {"events": list(events)}


def harbor(kind: str = "PUSH_ARTIFACT", *, cloud: bool = False, **data: Any) -> dict[str, Any]:
    body = data or {
        "resources": [{"digest": DIGEST, "tag": "latest", "resource_url": "hub.example.com/team/app:latest"}],
        "repository": {"date_created": 1, "name": "app", "namespace": "team", "repo_full_name": "team/app"},
    }
    if cloud:
        return {"specversion": "1.0", "id": "x", "source": "/projects/2/webhook/policies/15", "type": kind,
                "datacontenttype": "application/json", "data": body, "operator": "admin"}  # fmt: skip
    return {"type": kind, "occur_at": 1586922308, "operator": "admin", "event_data": body}


def replication(status: str = "Success", **artifact: Any) -> dict[str, Any]:
    return {
        "replication": {
            "harbor_hostname": "source.example.com", "job_status": status, "artifact_type": "image",
            "src_resource": {"registry_type": "docker-hub", "endpoint": "https://hub.docker.com",
            "namespace": "library"},
            "dest_resource": {"registry_type": "harbor", "endpoint": "https://hub.example.com", "namespace": "mirror"},
            "successful_artifact": [{"type": "image", "status": "Success", "name_tag": "app [1 item(s) in total]",
                                     **artifact}],
        }
    }  # fmt: skip


def arrival(host: str, repository: str, digest: str | None = DIGEST, tag: str | None = None) -> Arrival:
    return Arrival((host,), repository, parse_digest(digest) if digest else None, tag)


@pytest.mark.parametrize(
    "kind, body, told",
    [
        pytest.param("acr", acr(), [arrival("myregistry.azurecr.io", "hello-world", tag="v1")], id="acr"),
        pytest.param("acr", acr(target={"tag": None}), [arrival("myregistry.azurecr.io", "hello-world")],
        id="acr-no-tag"),
        pytest.param("acr", acr(action="delete"), [], id="acr-delete"),
        pytest.param("acr", acr(action="quarantine"), [], id="acr-quarantine"),
        pytest.param("acr", acr(action="chart_push", target={"digest": ""}), [], id="acr-chart"),
        pytest.param("acr", acr(action="ping"), [], id="acr-ping"),
        pytest.param("acr", acr(request=None), [], id="acr-of-no-registry"),
        pytest.param(
            "acr", acr(request={"host": "myregistry.westeurope.geo.azurecr.io"}),
            [arrival("myregistry.westeurope.geo.azurecr.io", "hello-world", tag="v1")], id="acr-regional",
        ),
        pytest.param("distribution", envelope(), [], id="distribution-empty"),
        pytest.param(
            "distribution", envelope(pushed(), pushed(target={"repository": "b", "tag": ""})),
            [arrival("registry.test:5000", "team/app", tag="1.2"), arrival("registry.test:5000", "b")],
            id="distribution-two",
        ),
        pytest.param("distribution", envelope(pushed(action="pull")), [], id="distribution-pull"),
        pytest.param("distribution", envelope(pushed(action="delete")), [], id="distribution-delete"),
        pytest.param(
            "distribution", envelope(pushed(target={"mediaType": "application/octet-stream"})), [],
            id="distribution-layer"
        ),
        pytest.param(
            "distribution", envelope(pushed(action="mount")), [arrival("registry.test:5000", "team/app", tag="1.2")],
            id="distribution-mount",
        ),
        pytest.param(
            "distribution", envelope(pushed(request={"host": "10.0.0.9"})),
            [Arrival(("10.0.0.9", "registry.test:5000"), "team/app", Digest(DIGEST), "1.2")],
            id="distribution-two-names",
        ),
        pytest.param(
            "distribution", envelope(pushed(target={"repository": "UPPER"}), pushed(action=None),
            pushed(target={"tag": "x"})),
            [arrival("registry.test:5000", "team/app", tag="x")], id="what-says-nothing-hides-nothing",
        ),
        pytest.param("harbor", harbor(), [arrival("hub.example.com", "team/app", tag="latest")], id="harbor"),
        pytest.param(
            "harbor", harbor("harbor.artifact.pushed", cloud=True),
            [arrival("hub.example.com", "team/app", tag="latest")], id="harbor-cloudevents",
        ),
        pytest.param(
            "harbor", harbor(resources=[{"digest": DIGEST, "tag": DIGEST, "resource_url": f"h/team/app@{DIGEST}"}],
                             repository={"repo_full_name": "team/app"}),
            [arrival("h", "team/app")], id="harbor-by-digest",
        ),
        pytest.param("harbor", harbor("PULL_ARTIFACT"), [], id="harbor-pull"),
        pytest.param("harbor", harbor("SCANNING_COMPLETED"), [], id="harbor-scan"),
        pytest.param("harbor", harbor("REPLICATION"), [], id="harbor-replication-of-nothing"),
        pytest.param(
            "harbor", harbor("REPLICATION", **replication()), [arrival("hub.example.com", "mirror/app", None)],
            id="harbor-replication",
        ),
        pytest.param("harbor", harbor("REPLICATION", **replication("Running")), [], id="harbor-replication-runs"),
        pytest.param("harbor", harbor("REPLICATION", **replication("Failed")), [], id="harbor-replication-failed"),
        pytest.param(
            "harbor",
            harbor("harbor.replication.status.changed", cloud=True, **replication(references=["1.0", DIGEST])),
            [arrival("hub.example.com", "mirror/app", None, "1.0"), arrival("hub.example.com", "mirror/app")],
            id="harbor-replication-of-references",
        ),
    ],
)  # fmt: skip
def test_what_registries_send(kind: str, body: dict[str, Any], told: list[Arrival]) -> None:
    assert decode(kind, json.dumps(body).encode()) == tuple(told)


DEEP = b"[" * 200_000
NOT_JSON = [
    b"", b" ", b"\x00", b"\xff\xfe", b"{", b"}", b"[", b"null", b"true", b"0", b"1e9999", b'""', b'"push"', b"[]",
    b"[{}]",
    b"NaN", b"{'action': 'push'}", b"action=push", b"<xml/>", b"\xef\xbb\xbf{}", b"{}" * 2, b"{}x", DEEP,
    b'{"x":' * 100_000, b'{"events":' + DEEP, b'{"target":' + DEEP, b'{"event_data":' + DEEP, b"\x1f\x8b\x08\x00",
    b'{"action":"push","target":{"tag":"\xff"}}', b'{"action":"\\ud800","target":{}', b'{"events": [{"action": 1}]}',
]  # fmt: skip
WRONG_SHAPES = [
    {}, {"action": "push"}, {"target": {}}, {"action": 1, "target": {}}, {"action": "push", "target": []},
    {"action": ["push"], "target": {}}, {"action": "push", "target": "x"}, {"action": "push", "target": {"tag": 1}},
    {"action": "push", "target": {"digest": {}}}, {"action": "push", "target": {"repository": ["a"]}},
    {"action": "push", "target": {}, "request": []}, {"action": "push", "target": {}, "request": {"host": 5}},
    {"events": None}, {"events": {}}, {"events": "x"}, {"events": [1]}, {"events": [[]]}, {"events": [None]},
    {"events": [{"target": 1}]}, {"events": [{"target": {"url": []}}]}, {"events": [{"request": "x"}]},
    {"type": 1}, {"type": "PUSH_ARTIFACT"}, {"type": None, "event_data": {}}, {"type": "REPLICATION", "event_data": []},
    {"type": "PUSH_ARTIFACT", "event_data": {"resources": {}}}, {"type": "PUSH_ARTIFACT",
    "event_data": {"resources": [1]}},
    {"type": "PUSH_ARTIFACT", "event_data": {"repository": "a"}},
    {"type": "REPLICATION", "event_data": {"replication": []}},
    {"type": "REPLICATION", "data": {"replication": {"successful_artifact": {}}}},
    {"type": "REPLICATION", "data": {"replication": {"dest_resource": "x"}}},
    {"type": "REPLICATION", "data": {"replication": {"successful_artifact": [{"references": [1]}]}}},
]  # fmt: skip


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_of_any_kind_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(MalformedEvent) as caught:
        decode(kind, body)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("body", WRONG_SHAPES, ids=range(len(WRONG_SHAPES)))
def test_another_shape_is_refused_or_says_nothing_whatever_kind_it_is_sent_as(body: dict[str, Any]) -> None:
    refused = 0
    for kind in DECODERS:
        try:
            assert decode(kind, json.dumps(body).encode()) == ()
        except MalformedEvent:
            refused += 1
    assert refused, "at least by the kind that it imitates"


HOSTS = [
    "", " ", "a b", "http://x", "x/y", "x@y", "x:y", "x:123456", "x:-1", "-x", "x..", "x\n", "x\x00", "é.example",
    "x" * 300,
    "[::1", "[::1]]", "[g::]", "x?y", "x#y", "%41", "*.example", "$(id)", "${jndi:ldap://x}", "'; drop", "../..",
    "\u202e",
]  # fmt: skip
REPOSITORIES = [
    "", "/", "/a", "a/", "a//b", "A", "a b", "a:b", "a@b", "..", "../a", "a/../b", "a/./b", ".a", "a.", "-a", "a-",
    "_a",
    "a%2fb", "a?b", "a#b", "a\\b", "a\nb", "a\x00", "é", "a/é", "a" * 256, "*", "{path}", "$(id)", "a;b", "a&b",
]  # fmt: skip
TAGS = ["", " ", "-a", ".a", "a b", "a:b", "a@b", "a/b", "a\n", "é", "a" * 129, DIGEST, "*", "$(id)", "\u202e"]
DIGESTS = [
    "", HEX, "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65, "md5:" + "a" * 32,
    "sha256" + HEX,
    f"sha256:{HEX}\n", f" sha256:{HEX}", "sha256:" + "g" * 64, f"SHA256:{HEX}", f"sha256:{HEX}@x", "sha512:" + HEX,
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS, ids=range(len(HOSTS)))
def test_what_is_no_host_names_no_registry(host: str) -> None:
    assert decode("acr", json.dumps(acr(request={"host": host})).encode()) == ()
    event = pushed(request={"host": host}, target={"url": f"http://{host}"})
    for told in decode("distribution", json.dumps(envelope(event)).encode()):
        assert told.hosts, "urlsplit reads `x?y` and the like as hosts that end there"
        assert all(name.isascii() and name.isprintable() and " " not in name and "/" not in name for name in told.hosts)


@pytest.mark.parametrize("repository", REPOSITORIES, ids=range(len(REPOSITORIES)))
def test_what_is_no_repository_is_passed_over(repository: str) -> None:
    assert decode("acr", json.dumps(acr(target={"repository": repository})).encode()) == ()
    body = harbor(resources=[{"digest": DIGEST, "resource_url": "h/x"}], repository={"repo_full_name": repository})
    assert decode("harbor", json.dumps(body).encode()) == ()


@pytest.mark.parametrize("tag", TAGS, ids=range(len(TAGS)))
def test_what_is_no_tag_is_none(tag: str) -> None:
    (told,) = decode("acr", json.dumps(acr(target={"tag": tag})).encode())
    assert (told.digest, told.tag) == (DIGEST, None)


@pytest.mark.parametrize("digest", DIGESTS, ids=range(len(DIGESTS)))
def test_what_is_no_digest_is_none(digest: str) -> None:
    (told,) = decode("acr", json.dumps(acr(target={"digest": digest})).encode())
    assert (told.digest, told.tag) == (None, "v1")


def test_a_notification_of_a_great_many_events_is_cut_off() -> None:
    body = envelope(*(pushed(target={"tag": str(number)}) for number in range(2 * MOST_ARRIVALS)))
    assert len(decode("distribution", json.dumps(body).encode())) == MOST_ARRIVALS


@given(
    kind=st.sampled_from(sorted(DECODERS)), body=st.binary(max_size=200) | st.from_regex(rb'\{"[a-z]{1,8}":.{0,40}\}')
)
def test_for_any_bytes_there_is_an_answer(kind: str, body: bytes) -> None:
    with contextlib.suppress(MalformedEvent):
        assert decode(kind, body) == ()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([DIGEST, "push",
    "h.example", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["action", "target", "request", "host", "repository", "tag", "digest", "url", "events", "type",
                         "event_data", "data", "resources", "replication", "dest_resource", "successful_artifact"]),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(kind=st.sampled_from(sorted(DECODERS)), body=_ANYTHING)
def test_for_any_document_what_is_told_has_its_form(kind: str, body: object) -> None:
    try:
        told = decode(kind, json.dumps(body).encode())
    except MalformedEvent:
        return
    for one in told:
        words = [*one.hosts, one.repository, one.digest or "x", one.tag or "x"]
        assert all(word and word.isascii() and word.isprintable() and " " not in word for word in words)
