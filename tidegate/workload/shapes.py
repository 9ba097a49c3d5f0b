"""As much of Kubernetes' objects as is read here; msgspec skips everything else without building it.

Every field may be null, as Go writes nil lists and maps (`"containers": null` in a template that has none).
Source: k8s.io/api core/v1, apps/v1, batch/v1 types.go.
"""

from typing import Any

import msgspec


class Owner(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """An owner reference."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Metadata(msgspec.Struct, rename="camel"):
    """An object's or a pod template's."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None
    deletion_timestamp: str | None = None


class Container(msgspec.Struct, gc=False):
    """Of any of the three lists."""

    image: str | None = None


class ImageVolume(msgspec.Struct, gc=False):
    """`volumes[].image`: an image mounted as a volume."""

    reference: str | None = None


class Volume(msgspec.Struct):
    image: ImageVolume | None = None


class Named(msgspec.Struct, gc=False):
    """A scheduling gate, or a reference to a Secret."""

    name: str | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    node_name: str | None = None
    service_account_name: str | None = None
    scheduling_gates: list[Named] | None = None
    image_pull_secrets: list[Named] | None = None


class PodTemplate(msgspec.Struct):
    """A PodTemplateSpec, and a Pod, which has the same two."""

    metadata: Metadata | None = None
    spec: PodSpec | None = None


class TemplateHolder(msgspec.Struct):
    """The spec of a Deployment, ReplicaSet, …; also the object PodTemplate, which has no spec around it."""

    template: PodTemplate | None = None


class Templated(msgspec.Struct):
    """Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, Job."""

    metadata: Metadata | None = None
    spec: TemplateHolder | None = None


class PodTemplateObject(msgspec.Struct):
    metadata: Metadata | None = None
    template: PodTemplate | None = None


class CronJobSpec(msgspec.Struct, rename="camel"):
    job_template: Templated | None = None


class CronJob(msgspec.Struct):
    metadata: Metadata | None = None
    spec: CronJobSpec | None = None


class Object(msgspec.Struct):
    """What every object has."""

    metadata: Metadata | None = None


class Scheduling(msgspec.Struct, rename="camel"):
    """The part of a pod spec that says on which nodes it may run."""

    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    tolerations: list[dict[str, Any]] | None = None
    affinity: dict[str, Any] | None = None
