"""What the configuration of this node's kubelet and containerd means for images that wait there for their Pods."""

from agent.advice.facts import NodeFacts
from agent.advice.files import Files, read
from agent.advice.table import advice_on

__all__ = ["Files", "NodeFacts", "advice_on", "read"]
