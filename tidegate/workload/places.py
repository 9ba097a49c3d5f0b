"""Where the images are: the kinds that hold some, and the JSON pointers of the places.

In a pointer `*` stands for every element of a list, or every value of a map. Of custom resources only these presets
and what the configuration adds are known; of a place that an object does not have, nothing is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GroupKind = tuple[str, str]
"""API group ("" for core) and kind; versions of one kind agree about where images are."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one kind. Raises ValueError for what is no JSON pointer."""

    templates: tuple[str, ...] = ()
    """Of pod templates: objects with `metadata` and a pod's `spec`."""
    pod_specs: tuple[str, ...] = ()
    """Of what has a pod spec's `containers`, `initContainers`, `ephemeralContainers` or `volumes`."""
    images: tuple[str, ...] = ()
    """Of strings."""
    variables: bool = False
    """Strings with `$(…)` in them are no images yet: the Pods will have the images, and are judged."""
    resource: str = ""
    """As in the API's paths; empty: the kind in lower-case letters, with an s."""

    def __post_init__(self) -> None:
        for pointer in (*self.templates, *self.pod_specs, *self.images):
            if not pointer.startswith("/") or "//" in pointer or pointer.endswith("/"):
                message = f"{pointer!r:.80} is no JSON pointer of a place in an object; write it like /spec/template"
                raise ValueError(message)


_TEMPLATE = Places(templates=("/spec/template",))

BUILT_IN: Mapping[GroupKind, Places] = MappingProxyType(
    {
        ("", "Pod"): Places(pod_specs=("/spec",)),
        ("", "PodTemplate"): Places(templates=("/template",)),
        ("", "ReplicationController"): _TEMPLATE,
        ("apps", "DaemonSet"): _TEMPLATE,
        ("apps", "Deployment"): _TEMPLATE,
        ("apps", "ReplicaSet"): _TEMPLATE,
        ("apps", "StatefulSet"): _TEMPLATE,
        ("batch", "CronJob"): Places(templates=("/spec/jobTemplate/spec/template",)),
        ("batch", "Job"): _TEMPLATE,
    }
)
"""Every kind of Kubernetes itself that holds a pod spec. Source: k8s.io/api."""

_KRUISE = "apps.kruise.io"


def _spark(application: str) -> Places:
    """Of an application's spec. No pod spec: `imagePullSecrets` are strings, and sidecars a list of their own."""
    roles = (f"{application}/driver", f"{application}/executor")
    lists = ("initContainers", "sidecars")
    return Places(
        templates=tuple(f"{role}/template" for role in roles),
        images=(
            f"{application}/image",
            *(f"{role}/image" for role in roles),
            *(f"{role}/{name}/*/image" for role in roles for name in lists),
            f"{application}/volumes/*/image/reference",
        ),
    )


def _tekton(*tasks: str) -> Places:
    """Of task specs. Their images may be parameters."""
    within = ("steps/*/image", "sidecars/*/image", "stepTemplate/image", "volumes/*/image/reference")
    return Places(images=tuple(f"{task}/{where}" for task in tasks for where in within), variables=True)


PRESETS: Mapping[GroupKind, Places] = MappingProxyType(
    {
        # With spec.workloadRef a Rollout has no template: the images are the referenced Deployment's.
        ("argoproj.io", "Rollout"): _TEMPLATE,
        (_KRUISE, "BroadcastJob"): _TEMPLATE,
        (_KRUISE, "CloneSet"): _TEMPLATE,
        (_KRUISE, "DaemonSet"): _TEMPLATE,
        (_KRUISE, "StatefulSet"): _TEMPLATE,
        (_KRUISE, "AdvancedCronJob"): Places(
            templates=(
                "/spec/template/jobTemplate/spec/template",
                "/spec/template/broadcastJobTemplate/spec/template",
            ),
        ),
        (_KRUISE, "UnitedDeployment"): Places(
            templates=(
                "/spec/template/statefulSetTemplate/spec/template",
                "/spec/template/advancedStatefulSetTemplate/spec/template",
                "/spec/template/cloneSetTemplate/spec/template",
                "/spec/template/deploymentTemplate/spec/template",
            ),
        ),
        (_KRUISE, "SidecarSet"): Places(
            pod_specs=("/spec",),
            images=("/spec/containers/*/upgradeStrategy/hotUpgradeEmptyImage",),
        ),
        (_KRUISE, "EphemeralJob"): Places(pod_specs=("/spec/template",)),
        (_KRUISE, "ImagePullJob"): Places(images=("/spec/image",)),
        (_KRUISE, "ImageListPullJob"): Places(images=("/spec/images/*",)),
        ("jobset.x-k8s.io", "JobSet"): Places(templates=("/spec/replicatedJobs/*/template/spec/template",)),
        ("serving.knative.dev", "Service"): _TEMPLATE,
        ("sparkoperator.k8s.io", "SparkApplication"): _spark("/spec"),
        ("sparkoperator.k8s.io", "ScheduledSparkApplication"): _spark("/spec/template"),
        ("tekton.dev", "Task"): _tekton("/spec"),
        ("tekton.dev", "TaskRun"): _tekton("/spec/taskSpec"),
        ("tekton.dev", "Pipeline"): _tekton("/spec/tasks/*/taskSpec", "/spec/finally/*/taskSpec"),
        ("tekton.dev", "PipelineRun"): _tekton(
            "/spec/pipelineSpec/tasks/*/taskSpec", "/spec/pipelineSpec/finally/*/taskSpec"
        ),
    }
)
"""Custom resources that are known without configuration.

Sources: apis/apps of OpenKruise, Argo Rollouts, Knative, JobSet v1alpha2, Tekton v1, Spark operator v1beta2.
"""

NO_PLACES: Mapping[GroupKind, Places] = MappingProxyType({})


def places(group: str, kind: str, configured: Mapping[GroupKind, Places] = NO_PLACES) -> Places | None:
    """Where images are in objects of the kind; None if it holds none. Configuration overrules a preset."""
    key = (group, kind)
    return BUILT_IN.get(key) or configured.get(key) or PRESETS.get(key)


def holds_images(group: str, kind: str, configured: Mapping[GroupKind, Places] = NO_PLACES) -> bool:
    return places(group, kind, configured) is not None
