"""The advice, one row a setting: when it applies, and what it means. Pure.

Every row is about images that were pulled before a Pod asked for them: kubelet collects first what no container has
used yet, shares the runtime's download slots with the agent, and may ask for a credential again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.advice.facts import NodeFacts

_COMFORTABLE = 3
"""Per cent between low and high threshold below which a collection frees next to nothing."""
_SLOTS = 3
"""containerd's `max_concurrent_downloads` where nothing is set."""


@dataclass(frozen=True, slots=True)
class Row:
    """One piece of advice."""

    setting: str
    applies: Callable[[NodeFacts], bool]
    says: Callable[[NodeFacts], str]


def advice_on(facts: NodeFacts) -> tuple[str, ...]:
    """All that applies, as `setting: what it means`."""
    return tuple(f"{row.setting}: {row.says(facts)}" for row in TABLE if row.applies(facts))


def _collected_by_age(facts: NodeFacts) -> bool:
    return (facts.image_maximum_gc_age_s or 0) > 0


def _serial(facts: NodeFacts) -> bool:
    return facts.kubelet_read and facts.serialize_image_pulls is not False


def _unbounded(facts: NodeFacts) -> bool:
    return facts.serialize_image_pulls is False and facts.max_parallel_image_pulls is None


def _gc_off(facts: NodeFacts) -> bool:
    return facts.image_gc_high_percent == 100  # noqa: PLR2004 - per cent


def _narrow(facts: NodeFacts) -> bool:
    high, low = facts.image_gc_high_percent, facts.image_gc_low_percent
    return high is not None and low is not None and high - low < _COMFORTABLE and not _gc_off(facts)


def _verifies(facts: NodeFacts) -> bool:
    return facts.credentials_verification in {"AlwaysVerify", "NeverVerifyAllowlistedImages"}


def _never_verifies(facts: NodeFacts) -> bool:
    return facts.credentials_verification == "NeverVerify"


def _preloaded(facts: NodeFacts) -> bool:
    return facts.kubelet_read and facts.credentials_verification in {None, "NeverVerifyPreloadedImages"}


def _few_slots(facts: NodeFacts) -> bool:
    return facts.containerd_read and (facts.max_concurrent_downloads or _SLOTS) <= _SLOTS


def _many_slots(facts: NodeFacts) -> bool:
    return (facts.max_concurrent_downloads or 0) > 2 * _SLOTS


TABLE = (
    Row(
        "imageMaximumGCAge",
        _collected_by_age,
        lambda facts: (
            f"{facts.image_maximum_gc_age_s:g} s, and never-used images count as the oldest: once kubelet has run "
            "for so long, its next collection takes every pre-pulled image that no container has used; 0s turns it off"
        ),
    ),
    Row(
        "serializeImagePulls",
        _serial,
        lambda _: (
            "kubelet pulls one image at a time: an image that was not pre-pulled waits behind every other; set it to "
            "false with a maxParallelImagePulls"
        ),
    ),
    Row(
        "maxParallelImagePulls",
        _unbounded,
        lambda _: "kubelet pulls without a bound: a node's first Pods are a herd of their own, beside the budget",
    ),
    Row(
        "imageGCHighThresholdPercent",
        _gc_off,
        lambda _: "100 turns collection off: pre-pulled images stay until the node is under DiskPressure, then all go",
    ),
    Row(
        "imageGCLowThresholdPercent",
        _narrow,
        lambda facts: (
            f"{facts.image_gc_low_percent} is close to the high one, {facts.image_gc_high_percent}: collections are "
            "frequent and small, and take pre-pulled images first"
        ),
    ),
    Row(
        "imagePullCredentialsVerificationPolicy",
        _verifies,
        lambda facts: (
            f"{facts.credentials_verification}: a Pod's own credential is asked for although the image is here, so "
            "the registry has to answer each Pod's first start; pre-pulling saves the layers only"
        ),
    ),
    Row(
        "imagePullCredentialsVerificationPolicy",
        _never_verifies,
        lambda _: "NeverVerify: every Pod of this node may use every image on it, private ones too",
    ),
    Row(
        "imagePullCredentialsVerificationPolicy",
        _preloaded,
        lambda _: (
            "pre-pulled images count as preloaded: every Pod of this node may use them without a credential, until "
            "kubelet itself has pulled the same image once"
        ),
    ),
    Row(
        "max_concurrent_downloads",
        _few_slots,
        lambda facts: (
            f"{facts.max_concurrent_downloads or _SLOTS} downloads at once for the whole node (containerd 2.1 and "
            "later): kubelet's pulls wait for those of the agent, which gives way; more slots make that rarer"
        ),
    ),
    Row(
        "max_concurrent_downloads",
        _many_slots,
        lambda facts: (
            f"{facts.max_concurrent_downloads} downloads at once: one pull sends its requests to the registry that "
            "much faster than a budget of pulls can pace"
        ),
    ),
    Row(
        "discard_unpacked_layers",
        lambda facts: facts.discard_unpacked_layers is True,
        lambda _: "layers are dropped once unpacked: images take less room, and an image that shares them pulls again",
    ),
)
