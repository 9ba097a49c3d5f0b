"""The replicas of a registry: which is home, local or a failover, and whether each is well."""

from tidegate.replicas.probes import probed
from tidegate.replicas.registries import RegistryReplicas, open_registries
from tidegate.replicas.replica import Replica

__all__ = ["RegistryReplicas", "Replica", "open_registries", "probed"]
