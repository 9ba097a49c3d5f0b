"""The shipped program over TLS, before replicas that are slow, silent, huge, or not to be trusted."""

import asyncio
import json
import signal
import ssl
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.process import files
from tidegate.testing.certificates import issue
from tidegate.testing.images import OCI_MANIFEST, build_image
from tidegate.testing.registry import (
    Account,
    Answer,
    Authorization,
    BearerGuard,
    Redirect,
    RegistryDouble,
    Stall,
    TokenServer,
)

MB = 1 << 20
SECRET = "hunter2-in-the-open"


def registry(host: str, url: str, more: str = "") -> str:
    return f'{{host: {host}, replicas: {{west: {{endpoint: "{url}"}}}}, {more}}}'


async def test_a_thousand_reviews_of_one_cold_image_cost_one_walk(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    files.allow_many()  # this process holds the other end of each connection
    image = build_image(layers=30, layer_bytes=256)
    async with RegistryDouble() as replica:
        replica.put("app", image)
        replica.fault(latency_s=0.02)
        text = programs.config(registry("r.example", replica.url), policy="patience: 8s")
        async with programs.running(tmp_path, text) as webhook:
            name = f"r.example/app@{image.digest}"
            began = time.perf_counter()
            answers = await asyncio.gather(*(webhook.judge(session, name) for _ in range(1000)))
            print(f"1,000 reviews: {len(replica.requests)} requests, {time.perf_counter() - began:.2f} s")
            assert {answer["auditAnnotations"]["finding"] for answer in answers} == {"ok"}, webhook.log[-2000:]
            assert all(answer["allowed"] for answer in answers)
            assert len(replica.requests) <= 40


async def test_a_known_image_does_not_wait_for_a_stalled_replica(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    known = build_image(seed="known")
    async with RegistryDouble() as good, RegistryDouble() as silent:
        good.put("app", known)
        silent.fault(stalls=(Stall(),))
        text = programs.config(registry("good.example", good.url), registry("silent.example", silent.url))
        async with programs.running(tmp_path, text) as webhook:
            name = f"good.example/app@{known.digest}"
            assert await webhook.finding(session, name) == "ok"
            waiting = [
                asyncio.create_task(webhook.finding(session, f"silent.example/app{n}@{known.digest}", given="6s"))
                for n in range(50)
            ]
            await silent.record.until(lambda record: record.in_flight >= 1)
            took = []
            for _ in range(300):
                began = time.perf_counter()
                assert await webhook.finding(session, name) == "ok"
                took.append(time.perf_counter() - began)
            assert not any(task.done() for task in waiting)
            p99 = statistics.quantiles(took, n=100)[98]
            print(f"known image while 50 wait: median {statistics.median(took) * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms")
            assert p99 < 0.25
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_replica_that_never_answers_costs_no_more_than_the_call(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    image = build_image()
    async with RegistryDouble() as silent:
        silent.fault(stalls=(Stall(),))
        async with programs.running(tmp_path, programs.config(registry("r.example", silent.url))) as webhook:
            began = time.perf_counter()
            answer = await webhook.judge(session, f"r.example/app@{image.digest}", given="3s")
            took = time.perf_counter() - began
            print(f"?timeout=3s: {took:.2f} s, {answer['auditAnnotations']['finding']}")
            assert took < 3.0
            assert answer["auditAnnotations"]["finding"] in {"deadline", "unreachable"}
            assert not answer["allowed"]


async def test_eight_manifests_of_32_mib_are_not_read(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    image = build_image()
    async with RegistryDouble() as replica:
        replica.put("warm", image)
        async with programs.running(tmp_path, programs.config(registry("r.example", replica.url))) as webhook:
            assert await webhook.finding(session, f"r.example/warm@{image.digest}") == "ok"
            before, _ = webhook.memory()
            for chunked in (False, True):
                huge = Answer(
                    path="/manifests/",
                    status=200,
                    body=b"{",
                    padding=32 * MB,
                    content_type=OCI_MANIFEST,
                    chunked=chunked,
                )
                replica.fault(answers=(huge,))
                names = [f"r.example/huge{chunked}{n}@{image.digest}".lower() for n in range(8)]
                found = await asyncio.gather(*(webhook.finding(session, name) for name in names))
                assert set(found) == {"unsupported"}
            after, peak = webhook.memory()
            print(f"RSS before {before / MB:.1f}, after {after / MB:.1f}, peak {peak / MB:.1f} MiB")
            assert peak - before < 64 * MB


@pytest.mark.parametrize("realm_is_listed", [False, True])
async def test_a_credential_is_seen_by_no_other_host(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession, *, realm_is_listed: bool
) -> None:
    """The realm and the storage are on another host name; only a listed one is sent the password."""
    image = build_image()
    accounts = {"u": Account(password=SECRET)}
    async with (
        TokenServer(accounts, anonymous=None, host="127.0.0.2") as tokens,
        RegistryDouble(host="127.0.0.3") as storage,
        RegistryDouble(guard=BearerGuard(tokens)) as replica,
    ):
        replica.put("app", image)
        storage.put("app", image)
        replica.fault(redirects=(Redirect(to=storage.url),))
        hosts = "[127.0.0.2]" if realm_is_listed else "[]"
        more = f"auth: [{{basic: {{username: u, password: {SECRET}}}}}], tokenHosts: {hosts}"
        text = programs.config(registry("r.example", replica.url, more))
        async with programs.running(tmp_path, text) as webhook:
            finding = await webhook.finding(session, f"r.example/app@{image.digest}")
            metrics = await (await session.get(webhook.metrics_url)).text()
            assert finding == ("ok" if realm_is_listed else "unauthorized")
            assert bool(tokens.record.requests) is realm_is_listed
            assert bool(storage.requests) is realm_is_listed
            assert {request.authorization for request in storage.requests} <= {Authorization.NONE}
            assert all(
                "authorization" not in request.headers and SECRET not in repr(request) for request in storage.requests
            )
            assert {request.authorization for request in replica.requests} <= {Authorization.NONE, Authorization.BEARER}
            assert SECRET not in webhook.log
            assert SECRET not in metrics
            assert SECRET not in await webhook.get(session, "/readyz?verbose")


async def test_the_configuration_is_followed(programs: Any, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    image = build_image()
    name = f"r.example/app@{image.digest}"
    async with RegistryDouble() as empty, RegistryDouble() as full:
        full.put("app", image)
        async with programs.running(tmp_path, programs.config(registry("r.example", empty.url))) as webhook:
            path = tmp_path / "config.yaml"

            async def is_valid(value: float) -> None:
                async def holds() -> bool:
                    return await webhook.metric(session, "tidegate_config_valid") == value

                await programs.until(holds, within_s=5.0)

            assert await webhook.finding(session, name) == "absent"
            wrong = {
                "broken YAML": "a: [",
                "unknown key": programs.config(registry("r.example", full.url), policy="odd: 1"),
                "no such bundle": programs.config(registry("r.example", full.url)).replace(
                    '"}}', '", caFile: /none.pem}}'
                ),
                "rule that needs a cluster": programs.config(
                    registry("r.example", full.url), policy="rules: [{namespaces: {matchLabels: {env: prod}}}]"
                ),
            }
            for case, text in wrong.items():
                programs.put(path, text.encode())
                await is_valid(0)
                ready = await webhook.get(session, "/readyz?verbose")
                assert "[-]config" in ready, case
                assert ready.endswith("ok"), case
                assert await webhook.finding(session, name) == "absent", case
                programs.put(path, programs.config(registry("r.example", empty.url)).encode())
                await is_valid(1)
            with_bundle = programs.config(registry("r.example", full.url)).replace(
                '"}}', f'", caFile: {tmp_path}/late.pem}}}}'
            )
            programs.put(path, with_bundle.encode())
            await is_valid(0)
            programs.put(tmp_path / "late.pem", (tmp_path / "ca.crt").read_bytes())

            async def knows() -> bool:
                return bool(await webhook.finding(session, name) == "ok")

            await programs.until(knows, within_s=5.0)
            await is_valid(1)
            assert webhook.log.count("late.pem") <= 1
            assert "[+]config ok" in await webhook.get(session, "/readyz?verbose")
            programs.put(path, with_bundle.replace("tags: allow", "tags: allow, unlisted: deny").encode())

            async def denies() -> bool:
                return bool(await webhook.finding(session, f"other.example/a@{image.digest}") == "unlisted")

            await programs.until(denies, within_s=5.0)
            asked = len(full.requests)
            assert await webhook.finding(session, name) == "ok"
            assert len(full.requests) == asked, "what was learned stays when only the policy changes"
            assert "Traceback" not in webhook.log


async def accepts(url: str, authority: bytes) -> bool:
    """Whether a client that trusts this authority alone gets through a new handshake."""
    trust = ssl.create_default_context(cadata=authority.decode())
    async with aiohttp.ClientSession() as fresh:
        try:
            async with fresh.get(f"{url}/livez", ssl=trust) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorCertificateError:
            return False


async def test_the_certificate_is_followed(programs: Any, tmp_path: Path) -> None:
    async with programs.running(tmp_path, programs.config(registry("r.example", "http://127.0.0.1:9"))) as webhook:
        old = (tmp_path / "ca.crt").read_bytes()
        new, stranger = issue("localhost", "127.0.0.1"), issue("localhost", "127.0.0.1")
        assert await accepts(webhook.url, old)
        assert not await accepts(webhook.url, new.authority)
        programs.put(tmp_path / "tls.crt", new.certificate)  # its key is still the old one's

        async def was_refused() -> bool:
            return "certificate.refused" in webhook.log

        await programs.until(was_refused, within_s=6.0)
        assert await accepts(webhook.url, old)
        programs.put_certificate(tmp_path, new)

        async def has_moved() -> bool:
            return await accepts(webhook.url, new.authority)

        await programs.until(has_moved, within_s=6.0)
        assert not await accepts(webhook.url, old)
        assert not await accepts(webhook.url, stranger.authority)


@pytest.mark.parametrize("patience_s", [1, 7])
async def test_reviews_in_flight_are_answered_before_the_end(
    programs: Any, tmp_path: Path, session: aiohttp.ClientSession, patience_s: int
) -> None:
    image = build_image()
    async with RegistryDouble() as silent:
        silent.fault(stalls=(Stall(),))
        text = programs.config(registry("r.example", silent.url), policy=f"patience: {patience_s}s")
        async with programs.running(tmp_path, text) as webhook:
            review = asyncio.create_task(webhook.finding(session, f"r.example/app@{image.digest}", given="20s"))
            await silent.record.until(lambda record: record.in_flight == 1)
            webhook.process.terminate()
            assert await review in {"deadline", "unreachable"}
            assert await webhook.end() == 0
            assert "Traceback" not in webhook.log
            lines = [json.loads(line) for line in webhook.log.splitlines()]
            assert [line["event"] for line in lines][-1] == "webhook.stopped"
            [decided] = [line for line in lines if line["event"] == "review.decided"]
            assert {"uid", "object", "verdict", "finding", "replica", "ms"} <= set(decided)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
async def test_it_ends_well(programs: Any, tmp_path: Path, number: str) -> None:
    async with programs.running(tmp_path, programs.config(registry("r.example", "http://127.0.0.1:9"))) as webhook:
        webhook.process.send_signal(signal.Signals[number])
        assert await webhook.process.wait() == 0
        assert "Traceback" not in webhook.log
