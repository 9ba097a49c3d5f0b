"""What this process itself asks of registries: it comes out of the same budget as the pulls. Pure.

Looking for what is held, for what is in use, for what pulls cost: a registry counts every request alike. Those that
were paid for before they were sent are not paid for again.
"""

from collections import Counter
from collections.abc import Callable

MOST_AHEAD = 64
"""Paid and not sent, for each registry: what memory answered in the end does not pay for what is asked next week."""


class OwnRequests:
    """`sent(host)`: how many requests have gone to the replicas of a registry that nodes pull from."""

    def __init__(self, sent: Callable[[str], int]) -> None:
        self._sent = sent
        self._seen: dict[str, int] = {}
        self._paid: Counter[str] = Counter()

    def pay(self, host: str, requests: int) -> None:
        """So many are paid for, and about to be sent."""
        self.unpaid(host)
        self._paid[host] = min(self._paid[host] + requests, MOST_AHEAD)

    def unpaid(self, host: str) -> int:
        """Sent since the last call, and not paid for. What was sent before the first is past."""
        sent = self._sent(host)
        new = max(0, sent - self._seen.get(host, sent))
        self._seen[host] = sent
        covered = min(new, self._paid[host])
        self._paid[host] -= covered
        return new - covered
