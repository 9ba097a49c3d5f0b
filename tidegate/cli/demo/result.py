"""What the demo found out, in the shape that `--output json` promises."""

from dataclasses import asdict, dataclass
from typing import Any

from tidegate.findings import Finding


@dataclass(frozen=True, slots=True)
class GateResult:
    """The rollout of a lagging image: refused, then let in."""

    before: Finding
    after: Finding
    held_s: float
    """From the refusal to the admission."""


@dataclass(frozen=True, slots=True)
class ScaleOutResult:
    """How one way of pulling went."""

    warm: int
    nodes: int
    seconds: float
    """Until the last node was warm, or until the cut-off."""
    throttled: int
    """429s that the replica answered."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    gate: GateResult
    naive: ScaleOutResult
    fixed: ScaleOutResult
    tidegate: ScaleOutResult
    wire_s: float

    @property
    def good(self) -> bool:
        """Whether tidegate did what it promises: the gate held and let go, all nodes warm, nothing flooded."""
        gated = self.gate.before is not Finding.OK and self.gate.after is Finding.OK
        return gated and self.tidegate.warm == self.tidegate.nodes and self.tidegate.throttled == 0

    def as_json(self) -> dict[str, Any]:
        """`{"gate": …, "scaleOut": {"naive", "fixed", "tidegate", "wire_s"}}`."""
        return {
            "gate": asdict(self.gate),
            "scaleOut": {
                "naive": asdict(self.naive),
                "fixed": asdict(self.fixed),
                "tidegate": asdict(self.tidegate),
                "wire_s": round(self.wire_s, 2),
            },
        }
