"""Credential provider plugins: real programs, asked as kubelet asks them."""

import asyncio
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tidegate.config import ConfigError
from tidegate.config.registries import AuthConfig, CredentialProviderAuth
from tidegate.registry.auth.plugin import CacheKeyType, PluginFailed, parse_response
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.errors import Unauthorized

SECRET = "s3same-open"
IMAGE = "r.example/team/app"
BOB = {"r.example": ("bob", SECRET)}


async def test_a_plugin_is_told_the_image_and_what_its_configuration_adds(plugins: Any, spelled: Any) -> None:
    plugins.answering("one", BOB)
    provider = plugins.provider("one", args=["--flag", "a b; $(c)"], env=[{"name": "WHO", "value": "me"}])
    assert spelled(await plugins.source(provider).credentials(IMAGE)) == [("bob", SECRET)]
    assert plugins.asked("one") == [
        {
            "request": {
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
                "kind": "CredentialProviderRequest",
                "image": IMAGE,
            },
            "args": ["--flag", "a b; $(c)"],
            "env": "me",
        }
    ]


async def test_a_plugin_is_asked_about_its_own_images_only(plugins: Any) -> None:
    plugins.answering("one", BOB)
    source = plugins.source(plugins.provider("one", matchImages=["other.example", "r.example/team-b"]))
    assert await source.credentials(IMAGE) == ()
    assert plugins.asked("one") == []


async def test_what_a_plugin_gives_is_matched_again(plugins: Any, spelled: Any) -> None:
    plugins.answering("one", {"r.example/team": ("t", "1"), "*.example": ("s", "2"), "x.example": ("x", "3")})
    assert spelled(await plugins.source(plugins.provider("one")).credentials(IMAGE)) == [("t", "1"), ("s", "2")]


async def test_plugins_are_combined_and_the_earlier_wins_under_an_equal_key(plugins: Any, spelled: Any) -> None:
    plugins.answering("one", {"r.example": ("one", "1")})
    plugins.answering("two", {"r.example": ("two", "2"), "r.example/team": ("long", "3")})
    source = plugins.source(plugins.provider("one"), plugins.provider("two"))
    assert spelled(await source.credentials(IMAGE)) == [("long", "3"), ("one", "1"), ("two", "2")]


@pytest.mark.parametrize(
    "reach, asked",
    [
        pytest.param("Image", [IMAGE, "r.example/other", "s.example/app"], id="image"),
        pytest.param("Registry", [IMAGE, "s.example/app"], id="registry"),
        pytest.param("Global", [IMAGE], id="global"),
    ],
)
async def test_an_answer_is_kept_for_what_it_says(plugins: Any, reach: str, asked: list[str]) -> None:
    plugins.answering("one", {"*.example": ("bob", SECRET)}, cacheKeyType=reach)
    source = plugins.source(plugins.provider("one"))
    for _ in range(2):
        for image in (IMAGE, "r.example/other", "s.example/app"):
            assert len(await source.credentials(image)) == 1
    assert plugins.images("one") == asked


@pytest.mark.parametrize(
    "response, default, within_s, runs",
    [
        pytest.param({}, "10m", 599.0, 1, id="default"),
        pytest.param({}, "10m", 600.0, 2, id="default-over"),
        pytest.param({"cacheDuration": None}, "10m", 599.0, 1, id="null-is-the-default"),
        pytest.param({"cacheDuration": "1h0m0s"}, "10m", 3599.0, 1, id="its-own"),
        pytest.param({"cacheDuration": "1h0m0s"}, "10m", 3600.0, 2, id="its-own-over"),
        pytest.param({"cacheDuration": "0s"}, "10m", 0.0, 2, id="none"),
        pytest.param({}, "0s", 0.0, 2, id="no-default"),
    ],
)
async def test_an_answer_is_kept_for_as_long_as_it_says(
    plugins: Any, response: dict[str, Any], default: str, within_s: float, runs: int
) -> None:
    plugins.answering("one", BOB, **response)
    source = plugins.source(plugins.provider("one", defaultCacheDuration=default))
    await source.credentials(IMAGE)
    plugins.clock.now += within_s
    await source.credentials(IMAGE)
    assert len(plugins.asked("one")) == runs


async def test_a_hundred_callers_are_one_run(plugins: Any) -> None:
    plugins.answering("one", BOB)
    source = plugins.source(plugins.provider("one"))
    found = await asyncio.gather(*(source.credentials(IMAGE) for _ in range(100)))
    assert set(found) == {found[0]}
    assert len(plugins.asked("one")) == 1


async def test_a_hundred_images_of_a_registry_are_two_runs(plugins: Any) -> None:
    plugins.answering("one", BOB)
    source = plugins.source(plugins.provider("one"))
    await asyncio.gather(*(source.credentials(f"r.example/app{number}") for number in range(100)))
    assert 1 <= len(plugins.asked("one")) <= 2


@pytest.mark.parametrize("auth", [pytest.param(None, id="null"), pytest.param({}, id="empty")])
async def test_a_plugin_may_have_nothing(plugins: Any, auth: Any) -> None:
    plugins.answering("one", auth)
    assert await plugins.source(plugins.provider("one")).credentials(IMAGE) == ()


@pytest.mark.parametrize(
    "script, words",
    [
        pytest.param(f"import sys; print('{SECRET}'); sys.exit('{SECRET}')", "ended with code 1", id="exit-code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", "ended with code -9", id="signal"),
        pytest.param(f"print('{SECRET}')", "no CredentialProviderResponse", id="no-json"),
        pytest.param("pass", "no CredentialProviderResponse", id="silence"),
        pytest.param("import sys; sys.stdout.write('x' * 300_000)", "larger than 262144 bytes", id="large"),
        pytest.param("import sys\nwhile True: sys.stdout.write('x' * 60_000)", "larger than 262144", id="endless"),
    ],
)
async def test_a_failure_is_named_without_the_plugins_words(plugins: Any, script: str, words: str) -> None:
    plugins.script("one", script)
    source = plugins.source(plugins.provider("one"))
    with capture_logs() as logs, pytest.raises(NoCredential) as caught:
        await source.credentials(IMAGE)
    assert f"one {words}" in str(caught.value) or words in str(caught.value)
    assert [log["event"] for log in logs] == ["credential_provider.failed"]
    assert SECRET not in f"{caught.value!r} {logs}"


async def test_a_failure_is_not_repeated_at_once(plugins: Any, tmp_path: Path) -> None:
    plugins.script("one", f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); raise SystemExit(2)")
    source = plugins.source(plugins.provider("one"))
    for later in (0.0, 4.9, 0.1):
        plugins.clock.now += later
        with pytest.raises(NoCredential, match="code 2"):
            await source.credentials(IMAGE)
    assert (tmp_path / "runs").read_text() == "xx"


async def test_a_plugin_that_fails_takes_nothing_from_another(plugins: Any, spelled: Any) -> None:
    plugins.script("one", "raise SystemExit(1)")
    plugins.answering("two", BOB)
    source = plugins.source(plugins.provider("one"), plugins.provider("two"))
    assert spelled(await source.credentials(IMAGE)) == [("bob", SECRET)]


async def test_a_plugin_that_does_not_start(plugins: Any) -> None:
    (plugins.bin_dir / "one").write_text("#!/nowhere/at-all\n")
    (plugins.bin_dir / "one").chmod(0o755)
    with pytest.raises(NoCredential, match="cannot be started: No such file"):
        await plugins.source(plugins.provider("one")).credentials(IMAGE)


async def test_a_plugin_that_hangs(plugins: Any) -> None:
    plugins.script("one", "import time; time.sleep(60)")
    with pytest.raises(NoCredential, match=r"one no answer within 0\.05 s"):
        await plugins.source(plugins.provider("one", longest_s=0.05)).credentials(IMAGE)


async def test_a_plugin_ends_with_what_it_started(plugins: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    plugins.script(
        "one",
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n",
    )
    source = plugins.source(plugins.provider("one"))
    asking = asyncio.create_task(source.credentials(IMAGE))
    child = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    await source.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await asking
    for _ in range(100):
        if not runs(child):
            break
        await asyncio.sleep(0.02)
    assert not runs(child)


def runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_run_outlasts_the_caller_who_started_it(plugins: Any, tmp_path: Path, spelled: Any) -> None:
    plugins.answering("one", BOB)
    script = (plugins.bin_dir / "one").read_text()
    os.mkfifo(tmp_path / "gate")
    plugins.script("one", f"open({str(tmp_path / 'gate')!r}).read()\n" + script)
    provider = plugins.provider("one")
    with pytest.raises(NoCredential, match="has not answered in 0"):
        await plugins.source(provider, patience_s=0.01).credentials(IMAGE)
    later = asyncio.create_task(plugins.source(provider).credentials(IMAGE))
    await asyncio.to_thread((tmp_path / "gate").write_text, "go")
    assert spelled(await later) == [("bob", SECRET)]
    assert len(plugins.asked("one")) == 1


async def test_closing_ends_what_runs(plugins: Any) -> None:
    plugins.script("one", "import time; time.sleep(60)")
    source = plugins.source(plugins.provider("one"), patience_s=0.01)
    with pytest.raises(NoCredential):
        await source.credentials(IMAGE)
    await source.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"kind": "CredentialProviderResponse"}', id="no-version"),
        pytest.param(
            b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v2", "kind": "CredentialProviderResponse",'
            b' "cacheKeyType": "Image"}',
            id="another-version",
        ),
        pytest.param(
            b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "Other", "cacheKeyType": "Image"}',
            id="another-kind",
        ),
        pytest.param(
            b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",'
            b' "cacheKeyType": "s3same-open"}',
            id="another-key-type",
        ),
        pytest.param(
            b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",'
            b' "cacheKeyType": "Image", "cacheDuration": "s3same-open"}',
            id="no-duration",
        ),
        pytest.param(
            b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",'
            b' "cacheKeyType": "Image", "auth": {"k": "s3same-open"}}',
            id="no-entry",
        ),
    ],
)
def test_what_is_no_response(raw: bytes) -> None:
    with pytest.raises(PluginFailed, match="no CredentialProviderResponse") as caught:
        parse_response(raw)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_response_may_say_more_than_is_known_and_hides_its_secrets() -> None:
    answer = parse_response(
        b'{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse", "new": 1,'
        b' "cacheKeyType": "Global", "auth": {"k": {"username": "u", "password": "s3same-open"}, "l": {}}}'
    )
    assert (answer.reach, answer.keep_s, [key for key, _ in answer.auth]) == (CacheKeyType.GLOBAL, None, ["k"])
    assert SECRET not in repr(answer)


def guarded(user: str, password: str) -> Any:
    good = "Basic " + b64encode(f"{user}:{password}".encode()).decode()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == good:
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    return answer


def configured(plugins: Any, *names: str) -> AuthConfig:
    provider = CredentialProviderAuth(config=str(plugins.file(*names)), binDir=str(plugins.bin_dir))
    return AuthConfig(credentialProvider=provider)


async def test_a_client_shows_what_a_plugin_gave(serve: Any, client: Any, plugins: Any) -> None:
    plugins.answering("one", {"registry.example": ("bob", SECRET)})
    server = await serve(guarded("bob", SECRET))
    async with client(server, auth=(configured(plugins, "one"),)) as replica:
        for _ in range(3):
            await replica.manifest("team/app", "v1")
    assert plugins.images("one") == ["registry.example/team/app"]


async def test_a_client_names_what_failed_and_goes_on_with_the_next(
    serve: Any, client: Any, plugins: Any, basic: AuthConfig, secret: str
) -> None:
    plugins.script("one", "raise SystemExit(3)")
    server = await serve(guarded("ada", secret))
    auth = configured(plugins, "one")
    async with client(server, auth=(auth, basic)) as replica:
        await replica.manifest("team/app", "v1")
    async with client(server, auth=(auth,)) as replica:
        with pytest.raises(Unauthorized, match="one ended with code 3"):
            await replica.manifest("team/app", "v1")


@pytest.mark.parametrize(
    "change, words",
    [
        pytest.param(("providers:", "provider:"), "provider: unknown key", id="unknown-key"),
        pytest.param(("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1"), "apiVersion", id="version"),
        pytest.param(("name: one", "name: ../one"), "not the name of a file", id="path"),
        pytest.param(("name: one", "name: .."), "not the name of a file", id="dots"),
        pytest.param(("name: one", "name: two"), "two: no executable file", id="missing"),
        pytest.param(('["*.example"]', "[]"), "providers[0].matchImages", id="no-images"),
        pytest.param(("12h0m0s", "soon"), "defaultCacheDuration", id="duration"),
        pytest.param(("12h0m0s", "1m\n    tokenAttributes: {a: b}"), "service account", id="token-attributes"),
        pytest.param(("12h0m0s", "1m\n    env: [{name: 'a=b', value: s3same-open}]"), "env[0].name", id="env"),
        pytest.param(("kind: ", "kind: ["), "line", id="no-yaml"),
    ],
)
async def test_a_wrong_file_of_plugins_is_a_fault_of_the_configuration(
    client: Any, plugins: Any, change: tuple[str, str], words: str
) -> None:
    plugins.answering("one", BOB)
    auth = configured(plugins, "one")
    path = plugins.folder / "providers.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ConfigError) as caught:
        await client("http://127.0.0.1:1", auth=(auth,)).__aenter__()
    assert all(line.startswith("auth[0].credentialProvider: ") for line in str(caught.value).splitlines())
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_file_of_plugins_that_is_not_there(client: Any, plugins: Any) -> None:
    auth = configured(plugins, "one")
    (plugins.folder / "providers.yaml").unlink()
    with pytest.raises(ConfigError, match="No such file"):
        await client("http://127.0.0.1:1", auth=(auth,)).__aenter__()
