"""Pull secrets and ServiceAccounts of the namespaces that the configuration lists, and whose they are.

wearer  which pull secrets an object names; pure
shapes  as much of a Secret and a ServiceAccount as is kept
bound   what listings and watches may bring into memory
watch   one namespace, kept current
mirror  all namespaces that are listed now; makes tenants without asking anybody
"""

from tidegate.pull_secrets.mirror import PullSecrets
from tidegate.pull_secrets.wearer import NO_WEARER, Wearer, wearer_of

__all__ = ["NO_WEARER", "PullSecrets", "Wearer", "wearer_of"]
