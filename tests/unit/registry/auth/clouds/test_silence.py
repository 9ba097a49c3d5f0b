"""No token in any log line: every test beside this one is listened to; here is what makes that worth something."""

import logging
from typing import Any

import structlog

from tidegate.testing.clouds import EntraDouble


def test_a_secret_that_is_logged_would_be_heard(silence: Any) -> None:
    told = EntraDouble()
    secrets = [told.secret(kind) for kind in ("record", "argument", "structlog", "print")]
    silence.watch(told)
    logging.getLogger("azure.core").debug("%s", secrets[0])
    logging.getLogger("google.auth").debug("%r", {"token": secrets[1]})
    structlog.get_logger().info("event", token=secrets[2])
    print(secrets[3])
    assert sorted(silence.heard()) == sorted(secrets)
    told.made.clear()


async def test_what_is_heard_is_not_nothing(imds: EntraDouble, silence: Any, client: Any, azure_auth: Any) -> None:
    """The libraries do write, at DEBUG: of the request to the metadata service, without what it gave."""
    async with client("http://127.0.0.1:1", auth=(azure_auth(),)) as replica:
        [source] = replica._sources
        [credential] = await source.credentials("r.example/team/app")
        assert await credential.exchange.token() == imds.made[0]
    assert silence.heard() == []
    assert "/metadata/identity/oauth2/token" in silence.text
