"""Policy, pure: what is exempt, what the text alone shows, and which verdict a finding gets in a namespace."""

from tidegate.policy.decision import (
    REFERENCE_LIMIT,
    Decision,
    Holding,
    Subject,
    decide,
    decided,
    static_finding,
    verdict_of,
)
from tidegate.policy.exemptions import Exemption, ImagePattern
from tidegate.policy.selectors import Operator, Requirement, Selector
from tidegate.policy.settings import (
    BREAK_GLASS_LABEL,
    DEFAULT_VERDICTS,
    EFFECTIVE_MODE_LABEL,
    MODE_LABEL,
    NAME_LABEL,
    CannotHold,
    Policy,
    Rule,
    Settings,
    Tags,
    Unlisted,
    breaks_glass,
    mode_of,
)

__all__ = [
    "BREAK_GLASS_LABEL",
    "DEFAULT_VERDICTS",
    "EFFECTIVE_MODE_LABEL",
    "MODE_LABEL",
    "NAME_LABEL",
    "REFERENCE_LIMIT",
    "CannotHold",
    "Decision",
    "Exemption",
    "Holding",
    "ImagePattern",
    "Operator",
    "Policy",
    "Requirement",
    "Rule",
    "Selector",
    "Settings",
    "Subject",
    "Tags",
    "Unlisted",
    "breaks_glass",
    "decide",
    "decided",
    "mode_of",
    "static_finding",
    "verdict_of",
]
