"""How a node stands with the images that are wanted on it, and whether it may begin to work. Pure."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of one node."""

    uid: str
    usable: bool
    """Ready, neither cordoned nor on its way out: only then is it said what is wanted on it."""
    wanted: int
    present: int
    """Of the wanted."""
    decided: bool
    """Everything that could want an image on it has been looked at."""

    @property
    def warm(self) -> bool:
        return self.usable and self.decided and self.present >= self.wanted


class Because(StrEnum):
    """Why a node may begin to work; also the reason of an Event and of the Node's condition."""

    PRESENT = "ImagesPresent"
    NOTHING_WANTED = "NoImagesWanted"
    DEADLINE = "DeadlinePassed"


class State(StrEnum):
    """As `tidegate_nodes` counts it."""

    WARM = "warm"
    WARMING = "warming"
    STRANDED = "stranded"
    """Still tainted past its deadline."""


def may_begin(standing: Standing, *, left_s: float) -> Because | None:
    """Why the node may begin, if it may. `left_s`: seconds until its deadline."""
    if standing.warm:
        return Because.PRESENT if standing.wanted else Because.NOTHING_WANTED
    return Because.DEADLINE if left_s <= 0 else None


def state_of(standing: Standing, *, left_s: float, tainted: bool) -> State | None:
    """None for a node that counts nowhere: not ready, or cordoned, and not ours to let go."""
    if tainted and left_s <= 0:
        return State.STRANDED
    if not standing.usable:
        return None
    return State.WARM if standing.warm else State.WARMING
