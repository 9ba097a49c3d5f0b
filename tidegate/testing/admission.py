"""AdmissionReviews of Pods as an API server sends them, and what it reads from an answer."""

# ruff: noqa: S101, PLR2004, ANN401  these are parts of tests; documents are of any shape

import base64
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        """The response in an AdmissionReview."""
        assert self.status == 200, (self.status, self.body)
        document = json.loads(self.body)
        assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: dict[str, Any] = document["response"]
        assert set(response["auditAnnotations"]) - {"grandfathered", "exemption"} == {"verdict", "finding", "images"}
        return response

    @property
    def said(self) -> tuple[bool, str, str]:
        """Whether it is allowed, verdict and finding."""
        response = self.response
        notes = response["auditAnnotations"]
        return response["allowed"], notes["verdict"], notes["finding"]


def pod_spec(*images: str, **others: Any) -> dict[str, Any]:
    return {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(images)], **others}


def pod(*images: str, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **(metadata or {})},
        "spec": pod_spec(*images, **spec),
    }


def review(
    new: object,
    *,
    kind: str = "Pod",
    group: str = "",
    operation: str = "CREATE",
    old: object = None,
    **others: Any,
) -> dict[str, Any]:
    """A review as an API server sends it."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": "things"},
        "name": "p", "namespace": "shop", "operation": operation,
        "userInfo": {"username": "dev", "groups": ["system:authenticated"]},
        "object": new, "oldObject": old, "dryRun": False, "options": None,
        **others,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def patch_of(answer: Answer) -> list[dict[str, Any]]:
    """The operations of an answer that allows; none where it changes nothing."""
    response = answer.response
    assert response["allowed"] is True
    assert ("patch" in response) is ("patchType" in response)
    if "patch" not in response:
        return []
    assert response["patchType"] == "JSONPatch"
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"], validate=True))
    assert operations, "an empty patch is none"
    return operations


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902 as far as it is used, and as strict: parents must be there, tests must hold."""
    document = copy.deepcopy(document)
    for operation in operations:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        place = document
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place[step]
        there = int(last) if isinstance(place, list) and last != "-" else last
        match operation["op"]:
            case "test":
                assert place[there] == operation["value"]
            case "replace":
                assert place[there] is not None
                place[there] = operation["value"]
            case "add" if isinstance(place, list):
                place.insert(len(place) if there == "-" else there, operation["value"])
            case "add":
                place[there] = operation["value"]
            case other:
                raise AssertionError(other)
    return document
