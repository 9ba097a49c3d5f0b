"""One replica as the checks see it: its client behind a circuit, and whether it answers at all."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry.auth.tenants import NO_ASKER, Asker
from tidegate.registry.errors import RegistryError, Unreachable
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
    @property
    def requests(self) -> int: ...
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
    async def ping(self, *, on_request: OnRequest | None = None) -> None: ...
    def pause_left_s(self) -> float: ...
    def pause(self, seconds: float) -> None: ...
    async def has_manifest(self, repository: str, reference: str, *, on_request: OnRequest | None = None) -> None: ...


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
        self.last_word = float("-inf")
        """When it last answered, or last failed to."""

    @property
    def registry(self) -> str:
        return self._client.registry

    @property
    def name(self) -> str:
        return self._client.name

    @property
    def requests(self) -> int:
        """Sent so far, for whatever purpose."""
        return self._client.requests

    def pause_left_s(self) -> float:
        """How long it still asks to be left alone, after a 429."""
        return self._client.pause_left_s()

    def pause(self, seconds: float) -> None:
        """Leave it alone for so long, as others were told to."""
        self._client.pause(seconds)

    async def has_manifest(self, repository: str, reference: str) -> None:
        """One HEAD, as a runtime begins a pull. Raises RegistryError."""
        await self._through(lambda sent: self._client.has_manifest(repository, reference, on_request=sent), None)

    def closed_to_calls(self) -> Unreachable | None:
        """Why a call made now would fail at once, if it would."""
        return self._refusal() if self._circuit.refuses else None

    async def manifest(
        self, repository: str, reference: str, *, on_request: OnRequest | None = None
    ) -> "ManifestBytes":
        return await self._through(
            lambda sent: self._client.manifest(repository, reference, on_request=sent), on_request
        )

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        return await self._through(lambda sent: self._client.has_blob(repository, digest, on_request=sent), on_request)

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        return await self._through(
            lambda sent: self._client.blob(repository, digest, most=most, on_request=sent), on_request
        )

    def may_read(self, repository: str, asker: Asker) -> bool:
        """Whether it handed a manifest to this asker a moment ago; where `auth` has pullSecrets."""
        return self._client.may_read(repository, asker)

    def did_read(self, repository: str, asker: Asker) -> bool:
        """Whether it ever did, as far as is remembered."""
        return self._client.did_read(repository, asker)

    def asked_by(self, asker: Asker) -> "AskedBy":
        """The same replica, behind the same circuit, for walks with an asker's credentials."""
        return AskedBy(self.name, self._client, self._through, asker)

    async def probe(self) -> None:
        """Ask lightly whether it answers at all, as one call among others. Raises RegistryError."""
        await self._through(lambda sent: self._client.ping(on_request=sent), None, lightly=True)

    def probe_in_s(self, *, quiet_s: float, again_s: float) -> float:
        """Seconds until a probe is worth its request: `quiet_s` after the last word, `again_s` after a failure.

        An open circuit is probed as soon as it lets a call through; a pause is waited for in any case.
        """
        if self._circuit.open:
            due = self._circuit.trial_in_s
        else:
            due = self.last_word + (again_s if self._circuit.doubtful else quiet_s) - self._now()
        return max(due, self.pause_left_s(), 0.0)

    async def _through(
        self, call: Callable[[OnRequest], Awaitable[T]], on_request: OnRequest | None, *, lightly: bool = False
    ) -> T:
        """Only what a request was sent for says anything about the replica; our own limits and memory do not."""
        admission = self._circuit.admit()
        if admission is Admission.REFUSED:
            raise self._refusal()
        if admission is Admission.TRIAL:
            log.info("replica.trial", registry=self.registry, replica=self.name)
        sent = False

        def count() -> None:
            nonlocal sent
            sent = True
            if on_request is not None:
                on_request()

        try:
            result = await call(count)
        except RegistryError as exc:
            if not sent:
                self._circuit.abandoned(admission)
            elif isinstance(exc, Unreachable):
                self._failed(exc, admission)
            else:
                self._answered(lightly=lightly)
            raise
        except BaseException:
            self._circuit.abandoned(admission)
            raise
        self._answered(lightly=lightly)
        return result

    def _answered(self, *, lightly: bool) -> None:
        self.last_answer = self.last_word = self._now()
        if self._circuit.open:
            log.info("replica.up", registry=self.registry, replica=self.name)
            self._up.set(1)
        self._circuit.answered(lightly=lightly)

    def _failed(self, exc: Unreachable, admission: Admission) -> None:
        self._last_failure = exc
        self.last_word = self._now()
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

    async def __call__(self, call: Callable[[OnRequest], Awaitable[T]], on_request: OnRequest | None, /) -> T: ...


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
            lambda sent: self._client.manifest(repository, reference, on_request=sent, asker=self._asker), on_request
        )

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        return await self._through(
            lambda sent: self._client.has_blob(repository, digest, on_request=sent, asker=self._asker), on_request
        )

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        return await self._through(
            lambda sent: self._client.blob(repository, digest, most=most, on_request=sent, asker=self._asker),
            on_request,
        )
