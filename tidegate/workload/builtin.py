"""One typed decoding per kind of Kubernetes itself: these are nearly all reviews."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.workload.decoding import decoded
from tidegate.workload.places import GroupKind
from tidegate.workload.shapes import CronJob, Metadata, PodSpec, PodTemplate, PodTemplateObject, Templated


@dataclass(slots=True)
class Found:
    """What a reader found."""

    metadata: Metadata | None = None
    template: Metadata | None = None
    pod: PodSpec | None = None
    pointer: str = ""
    """Of `pod`."""


Reader = Callable[[bytes | msgspec.Raw], Found]
"""Raises `MalformedObject`."""

_POD: Final = msgspec.json.Decoder(PodTemplate)
_TEMPLATED: Final = msgspec.json.Decoder(Templated)
_CRON_JOB: Final = msgspec.json.Decoder(CronJob)
_POD_TEMPLATE: Final = msgspec.json.Decoder(PodTemplateObject)


def _pod(raw: bytes | msgspec.Raw) -> Found:
    pod = decoded(raw, _POD)
    return Found(pod.metadata, None, pod.spec, "/spec")


def _templated(raw: bytes | msgspec.Raw) -> Found:
    holder = decoded(raw, _TEMPLATED)
    return _of_template(holder.metadata, holder.spec.template if holder.spec else None, "/spec/template/spec")


def _cron_job(raw: bytes | msgspec.Raw) -> Found:
    cron_job = decoded(raw, _CRON_JOB)
    job = cron_job.spec.job_template if cron_job.spec else None
    template = job.spec.template if job and job.spec else None
    return _of_template(cron_job.metadata, template, "/spec/jobTemplate/spec/template/spec")


def _pod_template(raw: bytes | msgspec.Raw) -> Found:
    holder = decoded(raw, _POD_TEMPLATE)
    return _of_template(holder.metadata, holder.template, "/template/spec")


def _of_template(metadata: Metadata | None, template: PodTemplate | None, pointer: str) -> Found:
    if template is None:
        return Found(metadata)
    return Found(metadata, template.metadata, template.spec, pointer)


READERS: Final[Mapping[GroupKind, Reader]] = {
    ("", "Pod"): _pod,
    ("", "PodTemplate"): _pod_template,
    ("", "ReplicationController"): _templated,
    ("apps", "DaemonSet"): _templated,
    ("apps", "Deployment"): _templated,
    ("apps", "ReplicaSet"): _templated,
    ("apps", "StatefulSet"): _templated,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _templated,
}
