"""ECR's passwords: GetAuthorizationToken, signed with the AWS credentials of the Pod.

    POST / at the API of the registry's region, X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken
    → {"authorizationData": [{"authorizationToken": base64("AWS:" PASSWORD), "expiresAt": Unix seconds}]}

The credentials come from awscrt's default chain, which reads its environment itself: variables, a profile, a web
identity (IRSA), a container's (EKS Pod Identity), the instance's. It works on threads of its own, and its futures are
waited for with a bound. A password is good in its own region only, so the region is that of the replica's endpoint.
Source: Amazon ECR API reference, 2015-09-21; AWS JSON 1.1.
"""

import asyncio
import binascii
import re
from base64 import b64decode
from concurrent.futures import Future
from http import HTTPStatus
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec
from yarl import URL

from tidegate.config.errors import ConfigError
from tidegate.registry.auth.cloud import Given, Wall
from tidegate.registry.auth.source import NoCredential

USER = "AWS"
_TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
_HOST = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]{2,32})\."
    r"(?P<domain>amazonaws\.com|amazonaws\.com\.cn|on\.aws|on\.amazonwebservices\.com\.cn)",
    re.ASCII,
)
_DUAL_STACK = {"on.aws": "api.aws", "on.amazonwebservices.com.cn": "api.amazonwebservices.com.cn"}


class Api(NamedTuple):
    """Where passwords of a region are given."""

    url: URL
    region: str


class Signer(Protocol):
    """Makes the headers that show AWS who we are."""

    async def signed(self, api: Api, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """All headers of a POST. Raises NoCredential."""
        ...


class _Datum(msgspec.Struct, rename="camel"):
    authorization_token: str
    expires_at: float


class _Answer(msgspec.Struct, rename="camel"):
    authorization_data: list[_Datum]


_decode = msgspec.json.Decoder(_Answer).decode


def api_of(host: str) -> Api | None:
    """The API for the registry at a host; None if it is none of ECR's private registries."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    region, domain, fips = found["region"], found["domain"], found["fips"] or ""
    if domain in _DUAL_STACK:
        name = f"ecr{fips}.{region}.{_DUAL_STACK[domain]}"
    else:
        name = f"ecr{fips}.{region}.{domain}" if fips else f"api.ecr.{region}.{domain}"
    return Api(URL(f"https://{name}/"), region)


def parse_answer(raw: bytes, *, now: float) -> Given:
    """The password in an answer, at `now` (Unix seconds). Raises NoCredential."""
    try:
        datum = _decode(raw).authorization_data[0]
        user, _, password = b64decode(datum.authorization_token, validate=True).decode("ascii").partition(":")
    except (msgspec.DecodeError, RecursionError, IndexError, binascii.Error, ValueError):
        user = password = ""
        datum = _Datum("", 0.0)
    if user != USER or not password:
        message = "ECR's answer holds no password"
        raise NoCredential(message)
    return Given(password, datum.expires_at - now)


class EcrIdentity:
    """The AWS identity of this process at the registries of one region."""

    def __init__(self, api: Api, *, signer: Signer, session: aiohttp.ClientSession, wall: Wall) -> None:
        self._api = api
        self._signer = signer
        self._session = session
        self._wall = wall

    async def fetch(self) -> Given:
        """A password. Raises NoCredential."""
        body = b"{}"
        plain = {"X-Amz-Target": _TARGET, "Content-Type": "application/x-amz-json-1.1"}
        headers = await self._signer.signed(self._api, plain, body)
        try:
            async with self._session.post(self._api.url, data=body, headers=headers, allow_redirects=False) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, OSError) as exc:  # TimeoutError is an OSError
            message = f"{self._api.url.host}: {type(exc).__name__}"
            raise NoCredential(message) from None
        if answer.status != HTTPStatus.OK:
            message = f"{self._api.url.host}: HTTP {answer.status}{_kind(raw)}"
            raise NoCredential(message)
        return parse_answer(raw, now=self._wall())

    async def aclose(self) -> None:
        """Close its connections."""
        await self._session.close()


class CrtSigner:
    """awscrt's credentials and signatures."""

    def __init__(self) -> None:
        """Import awscrt. Raises ImportError."""
        import awscrt.auth  # noqa: PLC0415 - an extra
        import awscrt.http  # noqa: PLC0415

        self._auth, self._http = awscrt.auth, awscrt.http
        self._chain = awscrt.auth.AwsCredentialsProvider.new_default_chain()

    async def signed(self, api: Api, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """With Signature Version 4. Raises NoCredential."""
        try:
            await _done(self._chain.get_credentials())
        except Exception as exc:  # noqa: BLE001 - awscrt raises types of its own making, without a common base
            message = f"no AWS credentials ({getattr(exc, 'name', type(exc).__name__)})"
            raise NoCredential(message) from None
        fields = list((headers | {"Host": api.url.host or ""}).items())
        request = self._http.HttpRequest("POST", api.url.raw_path, self._http.HttpHeaders(fields), BytesIO(body))
        config = self._auth.AwsSigningConfig(
            algorithm=self._auth.AwsSigningAlgorithm.V4, credentials_provider=self._chain, region=api.region,
            service="ecr", use_double_uri_encode=True, should_normalize_uri_path=True,
        )  # fmt: skip
        await _done(self._auth.aws_sign_request(request, config))
        return dict(request.headers)


async def _done(future: Future[Any]) -> None:
    """Wait for awscrt, which cannot be told to stop: a future of its that is cancelled fails on its thread."""
    await asyncio.shield(asyncio.wrap_future(future))


async def open_identity(place: int, host: str, *, session: aiohttp.ClientSession, wall: Wall) -> EcrIdentity:
    """The identity of this process at the registry of a host. Raises ConfigError."""
    api = api_of(host)
    if api is None:
        message = f"auth[{place}].ecr: {host} is no private registry of ECR; its password would go astray there"
        raise ConfigError(message)
    try:
        signer = await asyncio.to_thread(CrtSigner)
    except ImportError as exc:
        message = f"auth[{place}].ecr: needs awscrt; install the extra aws (images: requirements/clouds.txt)"
        raise ConfigError(message) from exc
    return EcrIdentity(api, signer=signer, session=session, wall=wall)


def _kind(raw: bytes) -> str:
    """The name of an AWS error, which is no secret: `AccessDeniedException`."""
    try:
        answer: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    kind = answer.get("__type") if isinstance(answer, dict) else None
    name = kind.rpartition("#")[2] if isinstance(kind, str) else ""
    return f" {name}" if re.fullmatch("[A-Za-z]{1,64}", name) else ""
