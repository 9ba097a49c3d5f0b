"""How a registry is kept from being flooded: requests counted as nginx counts them, bytes shared by all connections.

Both are arithmetic over a clock that is passed in, so that they can be proved without waiting.
"""


class RequestLimit:
    """`limit_req rate=… burst=… nodelay` of nginx: a leaky bucket in thousandths of a request, at 1 ms.

    An admitted request adds one to the excess, time takes `rate` a second off, and what would lift it over `burst` is
    refused and changes nothing. The first request of a quiet limit is free: `burst + 1` pass at once, then `rate` a
    second. Source: ngx_http_limit_req_module, account and lookup.
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        """Requests per second, and how many of them may come early."""
        self._rate = round(rate * 1000)
        self._burst = burst * 1000
        self._excess = 0
        self._last_ms: int | None = None

    def admits(self, now: float) -> bool:
        """Whether a request at `now` (seconds of any clock that does not go back) passes."""
        now_ms = int(now * 1000)
        if self._last_ms is None:
            excess = 0
        else:
            excess = max(0, self._excess - self._rate * (now_ms - self._last_ms) // 1000 + 1000)
        if excess > self._burst:
            return False
        self._excess, self._last_ms = excess, now_ms
        return True


class Pacer:
    """One wire of `bytes_per_s` for all: each chunk leaves when those that were asked for before it have left."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def delay(self, size: int, now: float) -> float:
        """Seconds until `size` more bytes have passed the wire."""
        self._free_at = max(self._free_at, now) + size / self._bytes_per_s
        return self._free_at - now
