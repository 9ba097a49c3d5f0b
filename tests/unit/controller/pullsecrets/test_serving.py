"""How the endpoint is asked for on the command line."""

from pathlib import Path

import pytest

from controller.pullsecrets.serving import door_of
from tidegate.config import ConfigError
from tidegate.testing.certificates import issue


def test_without_a_certificate_there_is_no_endpoint() -> None:
    assert door_of(None, None, port=8445) is None


def test_with_one_there_is(tmp_path: Path) -> None:
    pair = issue("127.0.0.1")
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    door = door_of(tmp_path / "crt", tmp_path / "key", port=8445)
    assert door is not None
    assert door.port == 8445


@pytest.mark.parametrize(
    "certificate, key, words",
    [
        pytest.param("crt", None, "go together", id="no-key"),
        pytest.param(None, "key", "go together", id="no-certificate"),
        pytest.param("crt", "key", "No such file", id="not-there"),
    ],
)
def test_half_of_a_pair_is_a_wrong_call(tmp_path: Path, certificate: str | None, key: str | None, words: str) -> None:
    paths = [None if name is None else tmp_path / name for name in (certificate, key)]
    with pytest.raises(ConfigError, match=words):
        door_of(paths[0], paths[1], port=8445)
