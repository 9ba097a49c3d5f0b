"""The error bodies of the distribution API: code, status and text as distribution has them (registry/api/errcode)."""

import json
from enum import Enum
from http import HTTPStatus
from typing import Any

from tidegate.testing.registry.wire import Reply

VERSION_HEADER = ("Docker-Distribution-Api-Version", "registry/2.0")


class Code(Enum):
    """An error code, its status and its message."""

    BLOB_UNKNOWN = (404, "blob unknown to registry")
    BLOB_UPLOAD_INVALID = (404, "blob upload invalid")
    BLOB_UPLOAD_UNKNOWN = (404, "blob upload unknown to registry")
    DENIED = (403, "requested access to the resource is denied")
    DIGEST_INVALID = (400, "provided digest did not match uploaded content")
    MANIFEST_BLOB_UNKNOWN = (400, "blob unknown to registry")
    MANIFEST_INVALID = (400, "manifest invalid")
    MANIFEST_UNKNOWN = (404, "manifest unknown")
    NAME_INVALID = (400, "invalid repository name")
    NAME_UNKNOWN = (404, "repository name not known to registry")
    PAGINATION_NUMBER_INVALID = (400, "invalid number of results requested")
    RANGE_INVALID = (416, "invalid content range")
    SIZE_INVALID = (400, "provided length did not match content length")
    TOOMANYREQUESTS = (429, "too many requests")
    UNAUTHORIZED = (401, "authentication required")
    UNKNOWN = (500, "unknown error")
    UNSUPPORTED = (405, "The operation is unsupported.")


def error(code: Code, detail: Any = None, *, message: str | None = None, status: int | None = None) -> Reply:  # noqa: ANN401 - any JSON
    """One error."""
    return errors([(code, detail, message)], status=status)


def errors(found: list[tuple[Code, Any, str | None]], *, status: int | None = None) -> Reply:
    """Several errors; the first decides about the status."""
    entries = []
    for code, detail, message in found:
        entry = {"code": code.name, "message": message or code.value[1]}
        if detail is not None:
            entry["detail"] = detail
        entries.append(entry)
    return json_reply({"errors": entries}, status=status or found[0][0].value[0])


def json_reply(document: Any, *, status: int = HTTPStatus.OK) -> Reply:  # noqa: ANN401 - any JSON
    """A JSON body with the newline that Go's encoder ends with."""
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return Reply(status=status, body=body, headers={"Content-Type": "application/json"})


def empty(status: int, **headers: str) -> Reply:
    """No body; `Docker_Upload_UUID` and the like name headers."""
    return Reply(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})
