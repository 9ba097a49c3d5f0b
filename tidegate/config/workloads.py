"""The `workloads:` part of the file: where custom resources hold images."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from tidegate.config.base import ConfigModel
from tidegate.workload import BUILT_IN, GroupKind, Places

_GROUP = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*", re.ASCII)
_RESOURCE = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
_MOST_PLACES = 64
Place = Annotated[str, Field(max_length=512)]


class WorkloadConfig(ConfigModel):
    """A kind of custom resource, and the JSON pointers of its images; it overrules a preset of the kind.

    In a pointer `*` stands for every element of a list or every value of a map; of places that an object has not
    got, nothing is said.
    """

    group: Annotated[str, Field(max_length=253)]
    """Its API group, without a version."""
    kind: Annotated[str, Field(max_length=63)]
    """As in its objects."""
    resource: Annotated[str, Field(max_length=63)] = ""
    """As in the API's paths, where it is not the kind in lower-case letters with an s."""
    templates: Annotated[list[Place], Field(max_length=_MOST_PLACES)] = []
    """Of pod templates, like `/spec/template` or `/spec/roles/*/template`."""
    pod_specs: Annotated[list[Place], Field(max_length=_MOST_PLACES)] = []
    """Of what has the lists of a pod spec: `containers`, `initContainers`, `ephemeralContainers`, `volumes`."""
    images: Annotated[list[Place], Field(max_length=_MOST_PLACES)] = []
    """Of image strings, like `/spec/image` or `/spec/steps/*/image`."""
    variables: bool = False
    """Strings with `$(…)` in them are filled in later, and only judged on the Pods."""

    @field_validator("templates", "pod_specs", "images")
    @classmethod
    def _are_pointers(cls, value: list[str]) -> list[str]:
        Places(images=tuple(value))
        return value

    @model_validator(mode="after")
    def _is_a_kind(self) -> Self:
        if not _GROUP.fullmatch(self.group) or not _KIND.fullmatch(self.kind):
            message = "group, kind: write them like group: example.com, kind: Widget, without a version"
            raise ValueError(message)
        if self.resource and not _RESOURCE.fullmatch(self.resource):
            message = "resource: write it as in the API's paths, like widgets"
            raise ValueError(message)
        if (self.group, self.kind) in BUILT_IN:
            message = f"{self.kind}: Kubernetes' own kinds are known, and cannot be overruled"
            raise ValueError(message)
        if not (self.templates or self.pod_specs or self.images):
            message = "give at least one of templates, podSpecs, images"
            raise ValueError(message)
        return self


def places_of(workloads: Sequence[WorkloadConfig]) -> Mapping[GroupKind, Places]:
    """For `tidegate.workload.view`."""
    return {
        (one.group, one.kind): Places(
            templates=tuple(one.templates),
            pod_specs=tuple(one.pod_specs),
            images=tuple(one.images),
            variables=one.variables,
            resource=one.resource,
        )
        for one in workloads
    }
