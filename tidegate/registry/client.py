"""The OCI distribution API of one replica: manifests whose bytes are hashed, blobs that are there or not.

    async with ReplicaClient(registry="r.example", name="west", config=…, auth=…, …) as replica:
        manifest = await replica.manifest("team/app", "sha256:…")
        there = await replica.has_blob("team/app", layer)

Everything else raises a `tidegate.registry.errors.RegistryError`; every call ends within `Timeouts.total_s`.
Memory is bounded: a call holds at most one manifest of `MANIFEST_BYTES`, and `limits.connections` calls at once.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Self

from yarl import URL

from tidegate.config.registries import AuthConfig, LimitsConfig, ReplicaConfig
from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry import accept, hosts
from tidegate.registry.answer import Answer
from tidegate.registry.auth.authoriser import Authoriser, Proof
from tidegate.registry.auth.credentials import Credential, ReadSecret, Secrets, read_secret_file
from tidegate.registry.auth.readers import Readers
from tidegate.registry.auth.source import NoCredential, PullSecretsSource, Source
from tidegate.registry.auth.sources import open_sources
from tidegate.registry.auth.tenants import NO_ASKER, Asker
from tidegate.registry.auth.tokens import Tokens
from tidegate.registry.bounds import DEFAULT_TIMEOUTS, EVIDENCE_BYTES, MANIFEST_BYTES, Timeouts
from tidegate.registry.dns import Lookup, Names
from tidegate.registry.errors import Mismatch, NotFound, RegistryError, Unauthorized, Unreachable, Unsupported
from tidegate.registry.limits import Limiter
from tidegate.registry.paths import Paths, digest_in
from tidegate.registry.pools import Pools
from tidegate.registry.session import trust
from tidegate.registry.translate import bounded, error_of
from tidegate.registry.transport import Ask, Call, Transport

OnRequest = Callable[[], None]
"""Called once for each request that a call sends; a token that callers share is counted for the first of them."""

_THERE = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
"""416 to the first byte: the blob is there, and empty."""

_NO_HEAD = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,  # public ECR, although its GET works
        HTTPStatus.FORBIDDEN,  # storage behind a URL that was signed for GET
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""Answers to HEAD after which GET is asked for the first byte before anything is concluded."""


_NO_ANSWER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""To a ping, besides 5xx; 401 is the usual one."""


@dataclass(frozen=True, slots=True)
class ManifestBytes:
    """A manifest or index as it came, and the digest that its bytes have."""

    body: bytes = field(repr=False)
    media_type: str
    digest: Digest


class _State(StrEnum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class ReplicaClient:
    """One replica of one registry. An async context manager that is opened once."""

    def __init__(
        self, *, registry: str, name: str, config: ReplicaConfig, auth: Sequence[AuthConfig],
        token_hosts: Sequence[str], limits: LimitsConfig, metrics: Metrics,
        timeouts: Timeouts = DEFAULT_TIMEOUTS, read_secret: ReadSecret = read_secret_file,
        names: Names | None = None,
    ) -> None:  # fmt: skip
        self.registry = registry
        self.name = name
        self._config = config
        self._endpoint = URL(config.endpoint)
        self._paths = Paths(self._endpoint, config.repository)
        self._auth = tuple(auth)
        self._token_hosts = frozenset(hosts.normal(host) for host in token_hosts)
        self._limits = limits
        self._metrics = metrics
        self._timeouts = timeouts
        self._secrets = Secrets(read=read_secret, replica=name, timeout_s=timeouts.secret_s)
        self._names = names
        self._state = _State.NEW
        self._stack = AsyncExitStack()
        self._get_blobs_until = 0.0

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            message = f"the client of {self.registry} {self.name} is {self._state}: make a new one"
            raise RuntimeError(message)
        self._now = asyncio.get_running_loop().time
        trusted = await trust(self._config)
        self._sources = await open_sources(
            self._auth, endpoint=self._endpoint, clock=self._now, timeouts=self._timeouts
        )
        for source in self._sources:
            self._stack.push_async_callback(source.aclose)
        if self._names is None:
            self._names = Names(Lookup(), now=self._now)
            self._stack.push_async_callback(self._names.aclose)
        pools = Pools(names=self._names, endpoint=self._endpoint, limits=self._limits, timeouts=self._timeouts)
        self._stack.push_async_callback(pools.aclose)
        guarded = any(isinstance(source, PullSecretsSource) for source in self._sources)
        self._readers = Readers(self._now) if guarded else None
        self._limiter = Limiter(self._limits, replica=self.name, clock=self._now)
        self._transport = Transport(
            pools=pools, trust=trusted, limiter=self._limiter, timeouts=self._timeouts,
            metrics=self._metrics, registry=self.registry, replica=self.name,
        )  # fmt: skip
        tokens = Tokens(
            transport=self._transport, secrets=self._secrets, endpoint=self._endpoint,
            token_hosts=self._token_hosts, timeouts=self._timeouts, replica=self.name,
        )  # fmt: skip
        self._stack.push_async_callback(tokens.aclose)
        self._authoriser = Authoriser(
            endpoint=self._endpoint, transport=self._transport, tokens=tokens, secrets=self._secrets,
            timeouts=self._timeouts, replica=self.name,
        )  # fmt: skip
        self._state = _State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._state = _State.CLOSED
        await self._stack.aclose()

    @property
    def requests(self) -> int:
        """Requests sent so far, to whichever host: the replica, its storage, token realms."""
        return self._transport.requests if self._state is not _State.NEW else 0

    def pause_left_s(self) -> float:
        """Seconds for which a 429 still tells us to leave this replica alone; 0 when it may be asked."""
        return self._limiter.pause_left_s() if self._state is _State.OPEN else 0.0

    def pause(self, seconds: float) -> None:
        """Leave this replica alone for so long, at most a minute: others were told to."""
        if self._state is _State.OPEN:
            self._limiter.pause(seconds)

    def may_read(self, repository: str, asker: Asker) -> bool:
        """Whether this asker, or a configured credential, was handed a manifest of the repository a moment ago.

        Asks nobody. Known only where `auth` has pullSecrets.
        """
        return self._readers is not None and self._readers.may(repository, asker)

    def did_read(self, repository: str, asker: Asker) -> bool:
        """The same for what is long past: what was seen then, when it cannot be asked now."""
        return self._readers is not None and self._readers.did(repository, asker)

    async def manifest(
        self, repository: str, reference: str, *, on_request: OnRequest | None = None, asker: Asker = NO_ASKER
    ) -> ManifestBytes:
        """Fetch and hash a manifest. `repository` is the path in image references, `reference` a tag or a digest.

        Raises NotFound for an authorised 404, Mismatch when the bytes are not those of the digest, Unsupported
        for more than `MANIFEST_BYTES`, and what else errors.py lists.
        """
        async with self._call(on_request) as call:
            name, url = self._asked_for(repository, lambda name: self._paths.manifest(name, reference))
            ask = Ask(method="GET", url=url, headers={"Accept": accept.MANIFESTS}, most=MANIFEST_BYTES)
            answer, who = await self._as_somebody(call, repository, name, asker, self._asking(call, name, ask))
            if answer.status != HTTPStatus.OK:
                raise error_of(answer, replica=self.name)
            manifest = self._hashed(answer, digest_in(reference))
            if self._readers is not None:
                self._readers.learn(repository, who if who in asker.credentials else None)
            return manifest

    async def has_blob(
        self, repository: str, digest: Digest, *, on_request: OnRequest | None = None, asker: Asker = NO_ASKER
    ) -> bool:
        """Whether the replica holds a blob in a repository: HEAD, or one byte by GET where HEAD does not work.

        False is an authorised 404. Redirects to storage are followed, since a replica may know of a blob whose
        bytes are gone. Raises RegistryError otherwise.
        """
        async with self._call(on_request) as call:
            name, url = self._asked_for(repository, lambda name: self._paths.blob(name, digest))
            try:
                answer, _ = await self._as_somebody(
                    call, repository, name, asker, lambda who: self._probe(call, who, name, url)
                )
            except NotFound:
                return False
            if answer.status not in _THERE:
                raise error_of(answer, replica=self.name)
            if answer.media_type in accept.HTML:
                raise self._no_registry(answer)
            return True

    async def blob(
        self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None,
        asker: Asker = NO_ASKER,
    ) -> bytes:  # fmt: skip
        """Fetch and hash a small blob, such as a config.

        Raises NotFound for an authorised 404, Mismatch for other bytes, Unsupported for more than `most` of them.
        """
        async with self._call(on_request) as call:
            name, url = self._asked_for(repository, lambda name: self._paths.blob(name, digest))
            ask = Ask(method="GET", url=url, most=most)
            answer, _ = await self._as_somebody(call, repository, name, asker, self._asking(call, name, ask))
            if answer.status != HTTPStatus.OK:
                raise error_of(answer, replica=self.name)
            return self._hashed(answer, digest).body

    async def has_manifest(self, repository: str, reference: str, *, on_request: OnRequest | None = None) -> None:
        """Ask by HEAD, as a runtime begins a pull: one request, nothing repeated, unless a token is needed first.

        Raises NotFound for an authorised 404, Throttled for a 429, and what else errors.py lists.
        """
        async with self._call(on_request) as call:
            call.may_repeat = False
            name, url = self._asked_for(repository, lambda name: self._paths.manifest(name, reference))
            ask = Ask(method="HEAD", url=url, headers={"Accept": accept.MANIFESTS})
            answer, _ = await self._as_somebody(call, repository, name, NO_ASKER, self._asking(call, name, ask))
        if answer.status != HTTPStatus.OK:
            raise error_of(answer, replica=self.name)

    async def ping(self, *, on_request: OnRequest | None = None) -> None:
        """Whether a registry answers at all, whatever it says to nobody in particular: one GET of /v2/.

        Raises Throttled for a 429, Unreachable for a 5xx and for no answer.
        """
        async with bounded(self.name, self._timeouts.ping_s), self._call(on_request) as call:
            ask = Ask(method="GET", url=self._paths.base, most=EVIDENCE_BYTES)
            answer = await self._transport.ask_once(ask, call)
        if answer.status in _NO_ANSWER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise error_of(answer, replica=self.name)

    @asynccontextmanager
    async def _call(self, on_request: OnRequest | None) -> AsyncIterator[Call]:
        if self._state is not _State.OPEN:
            message = f"the client of {self.registry} {self.name} is {self._state}: use it inside its context"
            raise RuntimeError(message)
        async with bounded(self.name, self._timeouts.total_s):
            yield Call(deadline=self._now() + self._timeouts.total_s, on_request=on_request)

    def _asked_for(self, repository: str, url: Callable[[str], URL]) -> tuple[str, URL]:
        """The replica's own name of the repository, and the URL. Raises Unsupported for what no replica can hold."""
        try:
            name = self._paths.repository(repository)
            return name, url(name)
        except ValueError as exc:
            raise Unsupported(str(exc), replica=self.name) from exc

    async def _as_somebody(
        self, call: Call, repository: str, name: str, asker: Asker, ask: Callable[[Credential], Awaitable[Answer]]
    ) -> tuple[Answer, Credential]:
        """Ask as each credential in turn until one is let in. Raises what the last said, or all refusals.

        Sources are asked by the name that image references have; `name` is the replica's own.
        """
        image = f"{self.registry}/{repository}"
        refusals: list[str] = []
        for source in self._sources:
            try:
                credentials = await _given(source, image, asker)
            except NoCredential as exc:
                refusals.append(f"{source.label}: {exc}")
                continue
            if not credentials:
                refusals.append(f"{source.label}: nothing for {image}")
            for credential in credentials:
                refused = self._authoriser.refusal(credential, name)
                try:
                    if refused is None:
                        call.may_reauthenticate = True
                        return await ask(credential), credential
                except Unauthorized as exc:
                    refused = exc.detail
                refusals.append(f"{credential.label}: {refused}")
        if self._readers is not None:
            self._readers.forget(repository, asker)
        raise Unauthorized("; ".join(refusals), replica=self.name)

    def _asking(self, call: Call, repository: str, ask: Ask) -> Callable[[Credential], Awaitable[Answer]]:
        return lambda who: self._authorised(call, who, repository, ask)

    async def _probe(self, call: Call, credential: Credential, repository: str, url: URL) -> Answer:
        proof = None
        if self._now() >= self._get_blobs_until:
            head = Ask(method="HEAD", url=url)
            proof, answer = await self._asked(call, credential, repository, head)
            if answer.status not in _NO_HEAD:
                return self._allowed(credential, repository, proof, answer)
        get = Ask(method="GET", url=url, headers={"Range": "bytes=0-0"})
        answer = await self._authorised(call, credential, repository, get, proof)
        if proof is not None and answer.status in _THERE:
            self._get_blobs_until = self._now() + self._timeouts.open_s
        return answer

    async def _authorised(
        self, call: Call, credential: Credential, repository: str, ask: Ask, proof: Proof | None = None
    ) -> Answer:
        proof, answer = await self._asked(call, credential, repository, ask, proof)
        return self._allowed(credential, repository, proof, answer)

    async def _asked(
        self, call: Call, credential: Credential, repository: str, ask: Ask, proof: Proof | None = None
    ) -> tuple[Proof, Answer]:
        """Ask with what is known to be wanted, and once more if the replica then says what it wants."""
        try:
            if proof is None:
                proof = await self._authoriser.proof(call, credential, repository)
            answer = await self._transport.ask(ask.authorised(proof.header, proof.password), call)
            better = await self._authoriser.better(call, credential, repository, proof, answer)
        except Unauthorized as exc:
            self._authoriser.refuse(credential, repository, exc)
            raise
        if better is not None:
            proof, answer = better, await self._transport.ask(ask.authorised(better.header, better.password), call)
        self._authoriser.learn(repository, proof, answer)
        return proof, answer

    def _allowed(self, credential: Credential, repository: str, proof: Proof, answer: Answer) -> Answer:
        """Raise Unauthorized for a refusal, and remember it; raise NotFound for a 404 that proves absence."""
        error = error_of(answer, replica=self.name)
        if isinstance(error, NotFound):
            if self._authoriser.is_proof_of_absence(repository, proof):
                raise error
            detail = f"{error.detail} (not authorised: this is no proof of absence)"
            error = Unauthorized(detail, replica=self.name)
        if isinstance(error, Unauthorized):
            if not answer.redirected:
                self._authoriser.refuse(credential, repository, error)
            raise error
        return answer

    def _hashed(self, answer: Answer, asked: Digest | None) -> ManifestBytes:
        """The bytes decide. A body that is no manifest's is told apart only where no digest was asked for."""
        algorithm = "sha256" if asked is None else asked.partition(":")[0]
        digest = Digest(f"{algorithm}:{hashlib.new(algorithm, answer.body).hexdigest()}")
        encoded = answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
        if digest != asked:
            if encoded or (asked is None and (answer.media_type in accept.HTML or not answer.body)):
                raise self._no_registry(answer)
            if asked is not None:
                detail = f"{hosts.host_of(answer.url)} serves {digest} under {asked}"
                raise Mismatch(detail, replica=self.name)
        return ManifestBytes(answer.body, answer.media_type, digest)

    def _no_registry(self, answer: Answer) -> RegistryError:
        what = answer.headers.get("Content-Encoding") or answer.media_type or "an empty body"
        detail = f"{hosts.host_of(answer.url)} answers {answer.status} with {what}, as no registry does"
        return Unreachable(detail, replica=self.name, step="protocol")


async def _given(source: Source, image: str, asker: Asker) -> tuple[Credential, ...]:
    """What to try at this place of the list. Raises NoCredential."""
    if isinstance(source, PullSecretsSource):
        return asker.of(source.place)
    return await source.credentials(image)
