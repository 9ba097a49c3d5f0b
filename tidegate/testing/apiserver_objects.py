"""What the API server does to an object between the request and the store. Pure but for names, UIDs and the time.

Creation names, stamps and numbers it; an update keeps what only the server may set, keeps `status` apart from the rest,
raises `generation` when something other than metadata and status changes, and checks `metadata.resourceVersion`.
"""

import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidegate.testing.apiserver_errors import bad_request, internal, invalid, modified

Object = dict[str, Any]

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", re.ASCII)
_NAME_LENGTH = 253
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_UNNUMBERED = frozenset({"nodes", "namespaces", "leases", "events", "secrets", "serviceaccounts", "configmaps"})
_MERGE_KEYS = {"conditions": "type"}
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp")


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401  any JSON value
    """RFC 7386, MergePatch."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def strategically_merged(target: Any, patch: Any, *, field: str = "") -> Any:  # noqa: ANN401  any JSON value
    """A strategic merge patch, for the lists that `_MERGE_KEYS` names; other lists are replaced whole.

    Source: patchMergeKey in k8s.io/api core/v1.
    """
    if isinstance(patch, list) and (key := _MERGE_KEYS.get(field)) is not None:
        kept = {item[key]: item for item in target or ()}
        for item in patch:
            kept[item[key]] = merged(kept.get(item[key]), item)
        return list(kept.values())
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategically_merged(result.get(name), value, field=name)
    return result


def created(body: Mapping[str, Any], *, plural: str, collection: str, namespace: str) -> Object:
    """The object that a POST makes."""
    metadata = {name: value for name, value in (body.get("metadata") or {}).items() if value is not None}
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
        metadata["name"] = metadata["generateName"] + suffix
    name = _checked_name(metadata.get("name", ""), collection=collection)
    if metadata.get("namespace", namespace) != namespace:
        message = "the namespace of the provided object does not match the namespace sent on the request"
        raise bad_request(message)
    if metadata.get("resourceVersion"):
        message = "resourceVersion should not be set on objects to be created"
        raise internal(message)
    for field in (*_KEPT, "resourceVersion"):
        metadata.pop(field, None)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if namespace:
        metadata["namespace"] = namespace
    if plural not in _UNNUMBERED:
        metadata["generation"] = 1
    obj = {**body, "metadata": metadata}
    if plural != "nodes":  # kubelet creates its Node with a status
        obj.pop("status", None)
    if plural == "secrets":
        obj.setdefault("type", "Opaque")
    if plural == "namespaces":
        metadata["labels"] = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": name}
        obj["status"] = {"phase": "Active"}
    return obj


def _checked_name(name: str, *, collection: str) -> str:
    if not name:
        raise invalid(collection, "", "metadata.name: Required value: name or generateName is required")
    if len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        why = f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of'
        raise invalid(collection, name, f"{why} lower case alphanumeric characters, '-' or '.'")
    return name


def updated(current: Object, wanted: Object, *, plural: str, collection: str, subresource: str) -> Object:
    """The object that a PUT or PATCH makes of `current`; equal to it when nothing changes."""
    was, wants = current["metadata"], wanted.get("metadata") or {}
    name = was["name"]
    if wants.get("name", name) != name:
        message = "the name of the object does not match the name on the URL"
        raise bad_request(message)
    if (namespace := wants.get("namespace", was.get("namespace"))) != was.get("namespace"):
        message = f"the namespace of the object ({namespace}) does not match the namespace on the request"
        raise bad_request(message)
    if wants.get("uid", was["uid"]) != was["uid"]:
        why = f'metadata.uid: Invalid value: "{wants["uid"]}": field is immutable'
        raise invalid(collection, name, why)
    version = wants.get("resourceVersion", "")
    if not version and _conditional(plural, collection.partition(".")[2]):
        why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        raise invalid(collection, name, why)
    if version and version != was["resourceVersion"]:
        raise modified(collection, name)
    wanted = {"apiVersion": current["apiVersion"], "kind": current["kind"], **wanted}
    if subresource == "status":
        return _with(current, "status", wanted.get("status"))
    metadata = {**wants, **{field: was[field] for field in (*_KEPT, "name", "namespace") if field in was}}
    metadata["resourceVersion"] = was["resourceVersion"]
    metadata = {field: value for field, value in metadata.items() if value not in ({}, [])}
    obj = _with({**wanted, "metadata": metadata}, "status", current.get("status"))
    if plural not in _UNNUMBERED and _body(obj) != _body(current):
        metadata["generation"] = was.get("generation", 0) + 1
    return obj


def now() -> str:
    """The time as `meta/v1.Time` prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditional(plural: str, group: str) -> bool:
    """Whether a PUT has to name the version that it replaces: custom resources and leases do."""
    return plural == "leases" or ("." in group and not group.endswith(".k8s.io"))


def _with(obj: Object, field: str, value: Any) -> Object:  # noqa: ANN401  any JSON value
    rest = {name: kept for name, kept in obj.items() if name != field}
    return rest if value is None else {**rest, field: value}


def _body(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in {"metadata", "status", "apiVersion", "kind"}}
