"""One replica as the checks see it: its client behind a circuit, and whether it answers at all."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry.auth.tenants import NO_ASKER, Asker
from tidegate.registry.errors import RegistryError, Throttled, Unreachable
from tidegate.replicas.circuit import Admission, Circuit

if TYPE_CHECKING:
    from tidegate.registry.client import ManifestBytes

log = structlog.get_logger(__name__)

T = TypeVar("T")
OnRequest = Callable[[], None]
"""Called once for each request that a call really sends."""


class Client(Protocol):
    """What a replica needs of its client; see `tidegate.registry.client.ReplicaClient`."""

    @property
    def registry(self) -> str: ...
    @property
    def name(self) -> str: ...
    async def manifest(
        self, repository: str, reference: str, *, on_request: OnRequest | None = None, asker: Asker = NO_ASKER
    ) -> "ManifestBytes": ...
    async def has_blob(
        self, repository: str, digest: Digest, *, on_request: OnRequest | None = None, asker: Asker = NO_ASKER
    ) -> bool: ...
    async def blob(
        self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None,
        asker: Asker = NO_ASKER,
    ) -> bytes: ...  # fmt: skip
    def may_read(self, repository: str, asker: Asker) -> bool: ...
    def did_read(self, repository: str, asker: Asker) -> bool: ...
    def pause_left_s(self) -> float: ...


class Replica:
    """A source for walks (`tidegate.completeness.Source`). While its circuit is open, calls fail at once."""

    def __init__(self, client: Client, *, circuit: Circuit, metrics: Metrics, now: Callable[[], float]) -> None:
        self._client = client
        self._circuit = circuit
        self._now = now
        self._up = metrics.replica_up.labels(client.registry, client.name)
        self._up.set(1)
        self._last_failure: Unreachable | None = None
        self.last_answer = float("-inf")
        """When it last answered anything, by the clock that was given."""

    @property
    def registry(self) -> str:
        return self._client.registry

    @property
    def name(self) -> str:
        return self._client.name

    def pause_left_s(self) -> float:
        """How long it still asks to be left alone, after a 429."""
        return self._client.pause_left_s()

    def closed_to_calls(self) -> Unreachable | None:
        """Why a call made now would fail at once, if it would."""
        return self._refusal() if self._circuit.refuses else None

    async def manifest(
        self, repository: str, reference: str, *, on_request: OnRequest | None = None
    ) -> "ManifestBytes":
        return await self._through(lambda: self._client.manifest(repository, reference, on_request=on_request))

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        return await self._through(lambda: self._client.has_blob(repository, digest, on_request=on_request))

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        return await self._through(lambda: self._client.blob(repository, digest, most=most, on_request=on_request))

    def may_read(self, repository: str, asker: Asker) -> bool:
        """Whether it handed a manifest to this asker a moment ago; where `auth` has pullSecrets."""
        return self._client.may_read(repository, asker)

    def did_read(self, repository: str, asker: Asker) -> bool:
        """Whether it ever did, as far as is remembered."""
        return self._client.did_read(repository, asker)

    def asked_by(self, asker: Asker) -> "AskedBy":
        """The same replica, behind the same circuit, for walks with an asker's credentials."""
        return AskedBy(self.name, self._client, self._through, asker)

    async def _through(self, call: Callable[[], Awaitable[T]]) -> T:
        admission = self._circuit.admit()
        if admission is Admission.REFUSED:
            raise self._refusal()
        was_paused = self.pause_left_s() > 0
        try:
            result = await call()
        except Unreachable as exc:
            self._failed(exc, admission)
            raise
        except RegistryError as exc:
            if isinstance(exc, Throttled) and was_paused:
                self._circuit.abandoned(admission)  # our own pause spoke, not the replica
            else:
                self._answered()
            raise
        except BaseException:
            self._circuit.abandoned(admission)
            raise
        self._answered()
        return result

    def _answered(self) -> None:
        self.last_answer = self._now()
        if self._circuit.open:
            log.info("replica.up", registry=self.registry, replica=self.name)
            self._up.set(1)
        self._circuit.answered()

    def _failed(self, exc: Unreachable, admission: Admission) -> None:
        self._last_failure = exc
        was_open = self._circuit.open
        self._circuit.failed(admission)
        if self._circuit.open and not was_open:
            log.warning("replica.down", registry=self.registry, replica=self.name, step=exc.step, error=exc.detail)
            self._up.set(0)

    def _refusal(self) -> Unreachable:
        last = self._last_failure
        detail, step = (last.detail, last.step) if last is not None else ("it failed before", "connect")
        return Unreachable(f"not asked again yet after: {detail}", replica=self.name, step=step)


class Through(Protocol):
    """Makes a call behind a circuit."""

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T: ...


class AskedBy:
    """A source for walks in somebody's name."""

    def __init__(self, name: str, client: Client, through: Through, asker: Asker) -> None:
        self.name = name
        self._client = client
        self._through = through
        self._asker = asker

    async def manifest(
        self, repository: str, reference: str, *, on_request: OnRequest | None = None
    ) -> "ManifestBytes":
        return await self._through(
            lambda: self._client.manifest(repository, reference, on_request=on_request, asker=self._asker)
        )

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        return await self._through(
            lambda: self._client.has_blob(repository, digest, on_request=on_request, asker=self._asker)
        )

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        return await self._through(
            lambda: self._client.blob(repository, digest, most=most, on_request=on_request, asker=self._asker)
        )
