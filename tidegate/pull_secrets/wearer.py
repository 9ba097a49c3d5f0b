"""Which pull secrets count for an object: its own, else those of its ServiceAccount. Pure.

The API server copies a ServiceAccount's into Pods that name none, at their creation and before any webhook, so a Pod
without any has none. Templates of workloads are left as they are written. Source: the ServiceAccount admission plugin.
"""

from dataclasses import dataclass

from tidegate.workload import WorkloadView

MOST_SECRETS = 32
"""Of one object; what it names beyond them is not looked at."""
_DEFAULT_ACCOUNT = "default"


@dataclass(frozen=True, slots=True)
class Wearer:
    """A namespace with names; what they stand for is looked up when it is needed."""

    namespace: str = ""
    secrets: tuple[str, ...] = ()
    account: str = ""
    """The ServiceAccount whose pull secrets count; empty where the object's own do, or none."""


NO_WEARER = Wearer()


def wearer_of(seen: WorkloadView, namespace: str) -> Wearer:
    """`namespace` is where the object really is, whatever its metadata says."""
    names = tuple(dict.fromkeys(seen.image_pull_secrets))[:MOST_SECRETS]
    if names or seen.is_pod:
        return Wearer(namespace, names)
    return Wearer(namespace, account=seen.service_account_name or _DEFAULT_ACCOUNT)
