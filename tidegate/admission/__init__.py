"""What the API server itself is told, as plain objects: whom to ask, and what it refuses alone. Pure."""

from tidegate.admission.matching import EXCLUDED_NAMESPACES, excluded
from tidegate.admission.namespace_labels import GATE_VERB
from tidegate.admission.policies import MANAGED_BY, policies
from tidegate.admission.webhooks import webhook_configurations

__all__ = [
    "EXCLUDED_NAMESPACES",
    "GATE_VERB",
    "MANAGED_BY",
    "excluded",
    "policies",
    "webhook_configurations",
]
