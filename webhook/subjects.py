"""Who is judged: a review's object as policy sees it, and what needs no judging at all."""

from collections.abc import Mapping, Sequence

from tidegate.policy import Holding, Subject, exempt_reason
from tidegate.workload import (
    GroupKind,
    ImageUse,
    MalformedObject,
    Owner,
    Places,
    WorkloadView,
    new_images,
    view,
)
from webhook.review import Review

_JUDGED = frozenset({"CREATE", "UPDATE"})
_NODES = "system:nodes"
_EPHEMERAL = "ephemeralcontainers"
_ACCOUNTS = "system:serviceaccount:"
_DAEMONS = frozenset({"system:serviceaccount:kube-system:daemon-set-controller", "system:kube-controller-manager"})
"""Whoever makes the Pods of built-in DaemonSets; the second with one account for all of Kubernetes' controllers."""
_WITHOUT_IMAGES = frozenset({"status", "scale", "resize", "eviction", "binding"})


def object_of(review: Review, places: Mapping[GroupKind, Places]) -> WorkloadView | None:
    """The object if it holds images and this operation can bring new ones, else None. Raises MalformedObject."""
    if review.operation not in _JUDGED or review.sub_resource in _WITHOUT_IMAGES or review.new is None:
        return None
    seen = view(review.kind.group, review.kind.kind, review.new, places)
    if seen is None or _is_mirror_pod(seen, review):
        return None
    if review.operation == "UPDATE" and seen.being_deleted:  # on CREATE it is only what an author wrote
        return None
    return seen


def uses_to_judge(seen: WorkloadView, review: Review, places: Mapping[GroupKind, Places]) -> Sequence[ImageUse]:
    """Images that the old object did not have: only a new image is judged, and nothing excuses one."""
    if review.operation != "UPDATE" or review.old is None:
        return seen.images
    try:
        before = view(review.kind.group, review.kind.kind, review.old, places)
    except MalformedObject:  # then every image is new
        return seen.images
    return seen.images if before is None else new_images(before, seen)


def subject_of(seen: WorkloadView, review: Review) -> Subject:
    """The object as policy sees it."""
    owner = seen.owner
    return Subject(
        namespace=review.namespace,
        user=review.user_info.username,
        labels=seen.labels if seen.template is None else seen.template_labels,
        exempt_reason=exempt_reason(seen.annotations if seen.template is None else seen.template_annotations),
        holding=_holding(seen, owner, review),
        owned_pod=is_born(seen, review) and owner is not None,
    )


def is_born(seen: WorkloadView, review: Review) -> bool:
    """A Pod at its creation: only then may it be gated, or take the place of one that ran."""
    return seen.is_pod and review.operation == "CREATE" and not review.sub_resource


def _holding(seen: WorkloadView, owner: Owner | None, review: Review) -> Holding:
    if review.sub_resource == _EPHEMERAL:
        return Holding.ALWAYS_ADMIT
    if seen.is_pod:
        if owner is not None and owner.kind == "DaemonSet" and _is_from(owner, review):
            return Holding.ALWAYS_ADMIT
        gateable = review.operation == "CREATE" and not seen.node_name
        return Holding.POSSIBLE if gateable else Holding.NEVER
    return Holding.NEVER if seen.kind == "DaemonSet" or seen.node_name else Holding.POSSIBLE


def _is_from(owner: Owner, review: Review) -> bool:
    """Whether a DaemonSet's controller asks: anybody can write an owner on a Pod, and would pass whatever is found.

    Another group's controller is an account of some other namespace, which authors of this one cannot be.
    """
    user = review.user_info.username
    if owner.api_version.startswith("apps/"):
        return user in _DAEMONS
    return user.startswith(_ACCOUNTS) and not user.startswith(f"{_ACCOUNTS}{review.namespace}:")


def _is_mirror_pod(seen: WorkloadView, review: Review) -> bool:
    """All four signs: annotation, owner and node name on the object, and a node that asks. One alone can be forged."""
    return seen.is_mirror and _NODES in (review.user_info.groups or ())
