"""Which new Pods wait until their image is on enough nodes. Their authors ask for it; policy and mode have no say.

The word that counts is the Pod's own, which it has of its template: a review shows no workload. Webhook configurations
leave out the namespaces that nobody is asked about.
"""

from collections.abc import Mapping

from tidegate.kube.own import HOLD, PRE_PULL_ANNOTATION
from tidegate.policy import breaks_glass
from tidegate.workload import WorkloadView
from webhook.review import Review
from webhook.subjects import is_born

_NEVER = frozenset({"DaemonSet", "Node"})
"""Owners whose Pods each have a node of their own: there is none to choose, and nothing to surge with."""


def starts_warm(seen: WorkloadView, review: Review, *, labels: Mapping[str, str], pulls_any: bool) -> bool:
    """`labels`: the namespace's; `pulls_any`: one of its images is of a registry that nodes pull from beforehand."""
    return (
        pulls_any
        and is_born(seen, review)
        and seen.annotations.get(PRE_PULL_ANNOTATION) == HOLD
        and not seen.node_name
        and (seen.owner is None or seen.owner.kind not in _NEVER)
        and not breaks_glass(labels)
    )
