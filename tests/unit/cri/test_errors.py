"""Why a pull failed, told by code and text; the texts are what runtimes were heard to say."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cri.errors import PullError, bounded, classify
from tidegate.findings import DETAIL_LIMIT
from tidegate.kube.own import Reason

URL = "http://127.0.0.1:5001/v2/app/manifests/1?ns=registry.test"
PULLING = 'failed to pull and unpack image "registry.test/app:1": '
RESOLVE = PULLING + "failed to resolve image: "
COPY = PULLING + "failed to copy: httpReadSeeker: failed open: "
TOKEN = (
    "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to http://auth/token: "
)

UNKNOWN = grpc.StatusCode.UNKNOWN

CONTAINERD = [
    pytest.param(UNKNOWN, f"{RESOLVE}unexpected status from HEAD request to {URL}: 429 Too Many Requests",
                 Reason.THROTTLED, id="429-resolve"),
    pytest.param(UNKNOWN, f"{COPY}unexpected status from GET request to {URL}: 429 Too Many Requests",
                 Reason.THROTTLED, id="429-blob"),
    pytest.param(UNKNOWN, f"{COPY}unexpected status from GET request to {URL}: 429 Too Many Requests\n"
                 "toomanyrequests: You have reached your pull rate limit", Reason.THROTTLED, id="429-with-body"),
    pytest.param(UNKNOWN, f"{RESOLVE}{TOKEN}429 Too Many Requests", Reason.THROTTLED, id="429-token"),
    pytest.param(UNKNOWN, f"{RESOLVE}{TOKEN}401 Unauthorized", Reason.UNAUTHORIZED, id="401-token"),
    pytest.param(UNKNOWN, f"{RESOLVE}unexpected status from HEAD request to {URL}: 401 Unauthorized",
                 Reason.UNAUTHORIZED, id="401"),
    pytest.param(UNKNOWN, f"{RESOLVE}unexpected status from HEAD request to {URL}: 403 Forbidden",
                 Reason.UNAUTHORIZED, id="403"),
    pytest.param(UNKNOWN, f"{RESOLVE}pull access denied, repository does not exist or may require authorization: "
                 "authorization failed: no basic auth credentials", Reason.UNAUTHORIZED, id="no-credential"),
    pytest.param(UNKNOWN, f"{RESOLVE}pull access denied, repository does not exist or may require authorization: "
                 "server message: insufficient_scope: authorization failed", Reason.UNAUTHORIZED, id="scope"),
    pytest.param(grpc.StatusCode.NOT_FOUND, f"{RESOLVE}registry.test/app:1: not found", Reason.NOT_FOUND, id="404"),
    pytest.param(UNKNOWN, f"{PULLING}failed to copy: write /var/lib/containerd/x/data: no space left on device",
                 Reason.NO_SPACE, id="disk-full"),
    pytest.param(UNKNOWN, f"{PULLING}failed to extract layer: disk quota exceeded", Reason.NO_SPACE, id="quota"),
    pytest.param(grpc.StatusCode.CANCELLED, "context canceled", Reason.CANCELED, id="canceled"),
    pytest.param(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Reason.CANCELED, id="deadline"),
    pytest.param(UNKNOWN, f"{RESOLVE}unexpected status from HEAD request to {URL}: 503 Service Unavailable",
                 Reason.OTHER, id="503"),
    pytest.param(UNKNOWN, f'{RESOLVE}failed to do request: Head "{URL}": dial tcp: lookup registry.test: no such host',
                 Reason.OTHER, id="dns"),
    pytest.param(UNKNOWN, f'{RESOLVE}failed to do request: Head "{URL}": tls: failed to verify certificate: x509',
                 Reason.OTHER, id="tls"),
    pytest.param(grpc.StatusCode.INVALID_ARGUMENT, f"{PULLING}schema 1 image manifests are no longer supported",
                 Reason.OTHER, id="schema-1"),
    pytest.param(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", Reason.OTHER, id="no-runtime"),
]  # fmt: skip

RESOLVE_1 = PULLING + 'failed to resolve reference "registry.test/app:1": '
STATUS_1 = "pulling from host registry.test failed with status code [manifests 1]: "

CONTAINERD_1 = [
    pytest.param(UNKNOWN, f"{RESOLVE_1}{STATUS_1}429 Too Many Requests", Reason.THROTTLED, id="1.x-429-manifest"),
    pytest.param(UNKNOWN, f"{RESOLVE_1}unexpected status from HEAD request to {URL}: 429 Too Many Requests",
                 Reason.THROTTLED, id="1.7-429-head"),
    pytest.param(UNKNOWN, f"{COPY}unexpected status code {URL}: 429 Too Many Requests - Server message: "
                 "toomanyrequests: slow down", Reason.THROTTLED, id="1.7-429-blob"),
    pytest.param(UNKNOWN, f"{RESOLVE_1}{STATUS_1}401 Unauthorized", Reason.UNAUTHORIZED, id="1.x-401"),
    pytest.param(UNKNOWN, f"{RESOLVE_1}failed to authorize: failed to fetch oauth token: unexpected status from POST "
                 "request to https://auth.test/token: 403 Forbidden", Reason.UNAUTHORIZED, id="1.7-403-token"),
    pytest.param(UNKNOWN, f"{RESOLVE_1}pull access denied, repository does not exist or may require authorization: "
                 "server message: insufficient_scope: authorization failed", Reason.UNAUTHORIZED, id="1.7-scope"),
    pytest.param(grpc.StatusCode.NOT_FOUND, f"{RESOLVE_1}registry.test/app:1: not found", Reason.NOT_FOUND,
                 id="1.7-404"),
    pytest.param(UNKNOWN, f"{PULLING}failed to extract layer sha256:1: mount callback failed on /tmp/mount1: "
                 "write /usr/lib/x: no space left on device: unknown", Reason.NO_SPACE, id="1.7-unpack"),
    pytest.param(UNKNOWN, f"{COPY}unexpected status code {URL}: 502 Bad Gateway", Reason.OTHER, id="1.7-502"),
    pytest.param(grpc.StatusCode.UNIMPLEMENTED, "schema 1 image manifests are no longer supported", Reason.OTHER,
                 id="1.7-schema-1"),
]  # fmt: skip

CRI_O = [
    pytest.param(UNKNOWN, "initializing source docker://registry.test/a:1: Requesting bearer token: invalid status "
                 "code from registry 429 (Too Many Requests)", Reason.THROTTLED, id="crio-429-token"),
    pytest.param(UNKNOWN, "Requesting bearer token: invalid status code from registry 403 (Forbidden)",
                 Reason.UNAUTHORIZED, id="crio-403-token"),
    pytest.param(UNKNOWN, "pinging container registry registry.test: invalid status code from registry 404 (Not Found)",
                 Reason.NOT_FOUND, id="crio-404"),
    pytest.param(UNKNOWN, 'copying system image from manifest list: writing blob: storing blob to file "/var/tmp/x": '
                 "write /var/tmp/x: no space left on device", Reason.NO_SPACE, id="crio-disk-full"),
    pytest.param(UNKNOWN, "RegistryUnavailable: pinging container registry registry.test: received unexpected HTTP "
                 "status: 429 Too Many Requests", Reason.THROTTLED, id="crio-429"),
    pytest.param(UNKNOWN, "reading manifest 1 in registry.test/app: toomanyrequests: slow down", Reason.THROTTLED,
                 id="crio-toomanyrequests"),
    pytest.param(UNKNOWN, "initializing source docker://registry.test/app:1: reading manifest 1 in registry.test/app: "
                 "manifest unknown", Reason.NOT_FOUND, id="crio-manifest-unknown"),
    pytest.param(UNKNOWN, "reading manifest 1 in registry.test/app: name unknown: repository not found",
                 Reason.NOT_FOUND, id="crio-name-unknown"),
    pytest.param(UNKNOWN, "reading manifest 1 in registry.test/app: unauthorized: authentication required",
                 Reason.UNAUTHORIZED, id="crio-unauthorized"),
    pytest.param(UNKNOWN, "unable to retrieve auth token: invalid username/password: unauthorized",
                 Reason.UNAUTHORIZED, id="crio-password"),
    pytest.param(UNKNOWN, "requested access to the resource is denied", Reason.UNAUTHORIZED, id="crio-denied"),
    pytest.param(UNKNOWN, "SignatureValidationFailed: source image rejected", Reason.OTHER, id="crio-signature"),
]  # fmt: skip

MISLEADING = [
    pytest.param("reg.test/toomanyrequests:1", Reason.OTHER, id="toomanyrequests"),
    pytest.param("reg.test/unauthorized:1", Reason.OTHER, id="unauthorized"),
    pytest.param("reg.test/no-space-left-on-device:429", Reason.OTHER, id="no-space"),
]


@pytest.mark.parametrize("code, text, reason", [*CONTAINERD, *CONTAINERD_1, *CRI_O])
def test_what_runtimes_say(code: grpc.StatusCode, text: str, reason: Reason) -> None:
    assert classify(code, text) is reason


@pytest.mark.parametrize("image, reason", MISLEADING)
def test_the_name_of_an_image_is_no_evidence(image: str, reason: Reason) -> None:
    text = f'failed to pull and unpack image "{image}": failed to resolve image: 502 Bad Gateway'
    assert classify(UNKNOWN, text) is reason


@given(st.text(max_size=2000))
def test_any_text_is_one_bounded_printable_line(text: str) -> None:
    line = bounded(text)
    assert len(line) <= DETAIL_LIMIT
    assert line.isprintable()
    assert classify(UNKNOWN, text) in Reason


def test_a_long_text_keeps_its_beginning_and_its_cause() -> None:
    error = PullError(Reason.THROTTLED, f"{RESOLVE}{'x' * 5000}: 429 Too Many Requests")
    assert error.message.startswith('failed to pull and unpack image "registry.test/app:1"')
    assert error.message.endswith(": 429 Too Many Requests")
    assert str(error) == error.message


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param(
            'Get "https://store.test/b?sig=secret&se=2026": 403 Forbidden',
            'Get "https://store.test/b?…": 403 Forbidden',
            id="quoted",
        ),
        pytest.param(
            "GET request to http://r.test/v2/app?ns=r.test:5001: 429 Too Many Requests",
            "GET request to http://r.test/v2/app?…: 429 Too Many Requests",
            id="bare",
        ),
        pytest.param("why? nobody knows", "why? nobody knows", id="a-question"),
    ],
)
def test_a_signed_address_loses_its_signature(text: str, message: str) -> None:
    assert bounded(text) == message
