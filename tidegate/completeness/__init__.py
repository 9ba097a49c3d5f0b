"""Whether the replicas that count hold whole images, and what of that is remembered."""

from tidegate.completeness.checker import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.completeness.source import Source
from tidegate.completeness.walk import NO_COST, Presence, PullCost, measure, walk

__all__ = ["NO_COST", "Checker", "Memory", "MemorySettings", "Presence", "PullCost", "Source", "measure", "walk"]
