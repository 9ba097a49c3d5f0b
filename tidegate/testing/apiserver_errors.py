"""Refusals of the API server double, in the words and codes of the real one."""

from http import HTTPStatus
from typing import Any


class Refused(Exception):
    """An HTTP answer with a `meta/v1.Status` body."""

    def __init__(self, code: HTTPStatus, reason: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code.value,
        }
        if retry_after_s is not None:
            self.status["details"] = {"retryAfterSeconds": retry_after_s}


def not_found(collection: str, name: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "NotFound", f'{collection} "{name}" not found')


def no_such_path() -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource")


def already_exists(collection: str, name: str) -> Refused:
    return Refused(HTTPStatus.CONFLICT, "AlreadyExists", f'{collection} "{name}" already exists')


def conflict(collection: str, name: str, why: str) -> Refused:
    message = f'Operation cannot be fulfilled on {collection} "{name}": {why}'
    return Refused(HTTPStatus.CONFLICT, "Conflict", message)


def modified(collection: str, name: str) -> Refused:
    return conflict(
        collection,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def invalid(collection: str, name: str, why: str) -> Refused:
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", f'{collection} "{name}" is invalid: {why}')


def precondition(collection: str, name: str, *, field: str, wanted: str, found: str) -> Refused:
    why = f"the {field} in the precondition ({wanted}) does not match the {field} in record ({found})"
    return conflict(collection, name, why)


def internal(why: str) -> Refused:
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "", why)


def bad_request(why: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "BadRequest", why)


def expired(why: str) -> Refused:
    return Refused(HTTPStatus.GONE, "Expired", why)


def unauthorized() -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")


def method_not_allowed() -> Refused:
    text = "the server does not allow this method on the requested resource"
    return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", text)


def unsupported_media_type(media_type: str) -> Refused:
    text = f"the body of the request was in {media_type}, which this server does not take"
    return Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text)
