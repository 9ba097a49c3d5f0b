"""A broken review is the caller's fault: a 4xx. A bad object is its author's: a verdict. Neither leaves a traceback."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webhook.app import MOST_BYTES, timeout_of
from webhook.review import MalformedReview, decode

BODY = (
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1",'
    b'"kind":"Pod"},"operation":"CREATE","object":{"spec":{"containers":[]}}}}'
)


def with_(old: bytes, new: bytes) -> bytes:
    assert old in BODY
    return BODY.replace(old, new)


HOSTILE = [
    pytest.param(b"", id="empty"),
    pytest.param(b" ", id="blank"),
    pytest.param(b"hello", id="no JSON"),
    pytest.param(b"<html>", id="HTML"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b"{}", id="an empty object"),
    pytest.param(BODY[:-1], id="cut off"),
    pytest.param(BODY + b" x", id="something after it"),
    pytest.param(BODY + BODY, id="twice"),
    pytest.param(b"\xef\xbb\xbf" + BODY, id="byte order mark"),
    pytest.param(BODY.decode().encode("utf-16"), id="UTF-16"),
    pytest.param(BODY + b"\0", id="NUL at the end"),
    pytest.param(with_(b"k8s.io/v1", b"k8s.io/v1beta1"), id="another version"),
    pytest.param(with_(b"AdmissionReview", b"ConversionReview"), id="another kind"),
    pytest.param(with_(b'"admission.k8s.io/v1"', b"1"), id="a version that is a number"),
    pytest.param(b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', id="no request"),
    pytest.param(b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}', id="request null"),
    pytest.param(b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":[]}', id="request a list"),
    pytest.param(with_(b'"uid":"u",', b""), id="no uid"),
    pytest.param(with_(b'"uid":"u"', b'"uid":""'), id="empty uid"),
    pytest.param(with_(b'"uid":"u"', b'"uid":null'), id="uid null"),
    pytest.param(with_(b'"uid":"u"', b'"uid":7'), id="uid a number"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"' + b"u" * 100_000 + b'"'), id="huge uid"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"\\ud800"'), id="lone surrogate"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"\xff"'), id="no UTF-8"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"a\nb"'), id="raw newline in text"),
    pytest.param(with_(b'"CREATE"', b"1"), id="operation a number"),
    pytest.param(with_(b'"operation":"CREATE",', b""), id="no operation"),
    pytest.param(with_(b'"kind":"Pod"', b'"kind":null'), id="kind null"),
    pytest.param(with_(b'{"spec":{"containers":[]}}', b"null"), id="no object on CREATE"),
    pytest.param(with_(b'{"spec":{"containers":[]}}', b" null "), id="no object, with blanks"),
    pytest.param(with_(b',"object":{"spec":{"containers":[]}}', b""), id="object left out"),
    pytest.param(with_(b'{"spec"', b"{" * 3), id="broken object"),
    pytest.param(with_(b'{"spec":{"containers":[]}}', b"[" * 100_000 + b"]" * 100_000), id="deep lists"),
    pytest.param(with_(b'{"spec":{"containers":[]}}', b'{"a":' * 100_000 + b"1" + b"}" * 100_000), id="deep objects"),
    pytest.param(with_(b'"uid":"u"', b'"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"uid":"u"'), id="deep elsewhere"),
    pytest.param(with_(b'"containers":[]', b'"nodeName":"\\ud800"'), id="lone surrogate in the object"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"u","userInfo":{"groups":"x"}'), id="groups no list"),
    pytest.param(with_(b'"uid":"u"', b'"uid":"u","namespace":{}'), id="namespace an object"),
]


@pytest.mark.parametrize("path", ["/validate", "/validate/enforce", "/validate/other", "/mutate"])
@pytest.mark.parametrize("body", HOSTILE)
async def test_a_broken_review_is_a_400(
    webhook: Any, capfd: pytest.CaptureFixture[str], body: bytes, path: str
) -> None:
    answer = await webhook.judge(body, path)
    assert answer.status == 400
    assert 0 < len(answer.body) < 500
    assert "Traceback" not in "".join(capfd.readouterr())
    assert webhook.checker.asked == []


async def test_the_honest_one_is_answered(webhook: Any) -> None:
    assert (await webhook.judge(BODY)).response["uid"] == "u"


@pytest.mark.parametrize(
    "old, new",
    [
        pytest.param(b'"uid":"u"', b'"uid":"first","uid":"u"', id="a key twice: the last counts"),
        pytest.param(b'"uid":"u"', b'"x":' + b"9" * 10_000 + b',"uid":"u"', id="a huge number that nobody reads"),
        pytest.param(b'"uid":"u"', b'"userInfo":{"groups":null},"uid":"u"', id="groups null"),
        pytest.param(b'"uid":"u"', b'"dryRun":null,"uid":"u"', id="dryRun null"),
        pytest.param(b'"uid":"u"', b'"dryRun":true,"uid":"u"', id="dry run"),
    ],
)
async def test_odd_but_honest(webhook: Any, old: bytes, new: bytes) -> None:
    assert (await webhook.judge(with_(old, new))).response == {
        "uid": "u", "allowed": True, "auditAnnotations": {"verdict": "allow", "finding": "exempt", "images": ""},
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/validate", "/mutate"])
@pytest.mark.parametrize(
    "parts, headers, status",
    [
        pytest.param([b"x"], {"content-length": str(MOST_BYTES + 1)}, 413, id="by its own length"),
        pytest.param([b" " * (1 << 20)] * 17, {}, 413, id="17 MiB in chunks"),
        pytest.param([b" " * (1 << 20)] * 17, {"content-length": "1"}, 413, id="that lie about their length"),
        pytest.param([b"x"], {"content-length": "\u00b2"}, 400, id="a length that is no number"),
        pytest.param([BODY], {"content-type": "application/yaml"}, 415, id="YAML"),
        pytest.param([BODY], {"content-type": "text/plain"}, 415, id="plain text"),
        pytest.param([BODY], {"content-type": "application/json-patch+json"}, 415, id="a patch"),
        pytest.param([BODY], {"content-type": "application/json; charset=utf-8"}, 200, id="with parameters"),
        pytest.param([BODY], {"content-type": "application/x-www-form-urlencoded"}, 200, id="curl's default"),
        pytest.param([BODY], {"content-type": "Application/JSON"}, 200, id="in another case"),
        pytest.param([BODY], {}, 200, id="none given"),
        pytest.param([bytes([byte]) for byte in BODY], {}, 200, id="byte by byte"),
    ],
)
async def test_sizes_and_types(
    webhook: Any, path: str, parts: list[bytes], headers: dict[str, str], status: int
) -> None:
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    assert (await webhook.call("POST", path, parts, headers=headers)).status == status


@pytest.mark.parametrize("path", ["/validate", "/mutate"])
async def test_a_client_that_goes_is_no_fault_of_ours(webhook: Any, path: str) -> None:
    assert (await webhook.call("POST", path, [BODY[:10]], leaves=True)).status == 400


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/validate", 405), ("PUT", "/validate/enforce", 405), ("POST", "/", 404), ("POST", "/validate/", 307),
        ("GET", "/livez", 200), ("GET", "/readyz", 503), ("POST", "/livez", 405), ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404), ("GET", "/metrics", 404),
    ],
)  # fmt: skip
async def test_paths(webhook: Any, method: str, path: str, status: int) -> None:
    assert (await webhook.call(method, path)).status == status


async def test_readiness_is_latched_and_explains_itself(webhook: Any) -> None:
    webhook.health.notes["config"] = "bad.yaml: policy: unknown key"
    webhook.health.ready.set()
    assert (await webhook.call("GET", "/readyz")).body == b"ok"
    verbose = await webhook.call("GET", "/readyz", query="verbose")
    assert (verbose.status, verbose.body) == (200, b"[-]config bad.yaml: policy: unknown key\nok")


HOSTILE_OBJECTS = [
    pytest.param("text", id="text"),
    pytest.param([], id="a list"),
    pytest.param(7, id="a number"),
    pytest.param({"spec": []}, id="spec a list"),
    pytest.param({"spec": {"containers": "x"}}, id="containers text"),
    pytest.param({"spec": {"containers": [7]}}, id="a container that is a number"),
    pytest.param({"spec": {"containers": [{"image": 7}]}}, id="an image that is a number"),
    pytest.param({"spec": {"containers": [{"image": ["r.example/a"]}]}}, id="an image that is a list"),
    pytest.param({"spec": {"containers": [{"image": f"r.example/a{n}"} for n in range(1001)]}}, id="1,001 images"),
    pytest.param({"spec": {"volumes": [{"image": {"reference": {}}}]}}, id="a volume's reference"),
    pytest.param({"metadata": {"labels": {"a": 1}}, "spec": {}}, id="a label that is a number"),
    pytest.param({"metadata": [], "spec": {}}, id="metadata a list"),
    *(
        pytest.param({"spec": {"containers": [{"image": image}]}}, id=repr(image)[:40])
        for image in [
            "r.example/a\n", "r.example/a\nallowed", "\u202er.example/a", "r.example/\0", "r.example/\x1b[31m", " ",
            "\t", "r.example/a\u00a0", "r.example/A", "x" * 1_000_000, "r.example/a@" + "sha256:" * 1000, "\U0001f40b",
            "\u0661", "r.example/a@sha256:" + "A" * 64, "r.example/a:" + "t" * 129, "//", "@", ":", "r.example/../a",
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize("new", HOSTILE_OBJECTS)
async def test_a_bad_object_gets_a_verdict(
    webhook: Any, make: Any, capfd: pytest.CaptureFixture[str], new: object
) -> None:
    answer = await webhook.judge(make.review(new))
    assert answer.said == (False, "deny", "malformed")
    message = answer.response["status"]["message"]
    assert message.isprintable()
    assert len(message) <= 512
    assert len(answer.response["auditAnnotations"]["images"]) <= 512
    assert webhook.checker.asked == []
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_so_does_one_that_is_no_utf8(webhook: Any, make: Any) -> None:
    body = json.dumps(make.review({"spec": {"containers": [{"image": "HERE"}]}})).encode().replace(b"HERE", b"\xff")
    assert (await webhook.judge(body)).said == (False, "deny", "malformed")


async def test_an_old_object_that_nobody_can_read_excuses_nothing(webhook: Any, make: Any) -> None:
    new = make.pod("r.example/a:1")
    answer = await webhook.judge(make.review(new, operation="UPDATE", old={"spec": {"containers": 1}}))
    assert answer.said == (False, "deny", "not-pinned")


@given(body=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_do_more_than_raise_the_one_error(body: bytes) -> None:
    with pytest.raises(MalformedReview):
        decode(body)


KEYS = ["spec", "containers", "image", "metadata", "template", "volumes", "a"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "containers", "image", "metadata", "template", "a"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(new=JSON_VALUES.filter(lambda value: value is not None), kind=st.sampled_from(["Pod", "Deployment", "CronJob"]))
async def test_no_object_does_more_than_get_a_verdict(webhook: Any, make: Any, new: object, kind: str) -> None:
    group = {"Pod": "", "Deployment": "apps", "CronJob": "batch"}[kind]
    _, verdict, _ = (await webhook.judge(make.review(new, kind=kind, group=group))).said
    assert verdict in {"allow", "deny"}


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"timeout": "3s"}, 3.0), ({"timeout": "30s"}, 30.0), ({"timeout": "1m0s"}, 30.0), ({"timeout": "500ms"}, 0.5),
        ({}, 10.0), ({"timeout": ""}, 10.0), ({"timeout": "0s"}, 10.0), ({"timeout": "-3s"}, 10.0),
        ({"timeout": "x"}, 10.0), ({"timeout": "9" * 40 + "s"}, 10.0), ({"timeout": "3"}, 10.0),
        ({"timeout": "nan"}, 10.0),
    ],
)  # fmt: skip
def test_timeouts(query: dict[str, str], expected: float) -> None:
    assert timeout_of(query) == expected
