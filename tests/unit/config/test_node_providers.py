"""A node's own credential providers: kubelet's file, or its folder of files."""

from pathlib import Path

import pytest

from tidegate.config import ConfigError
from tidegate.config.credential_providers import node_providers

HEAD = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
PROVIDER = """\
  - name: {name}
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: ["*.example"]
    defaultCacheDuration: 1m
"""


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text("")
        (folder / name).chmod(0o755)
    return folder


def names(config: Path, bin_dir: Path) -> list[str]:
    return [provider.name for provider in node_providers(config, bin_dir).usable]


def write(path: Path, *providers: str) -> None:
    path.write_text(HEAD + "".join(PROVIDER.format(name=name) for name in providers))


def test_a_file(tmp_path: Path, bin_dir: Path) -> None:
    write(tmp_path / "file", "two", "one")
    assert names(tmp_path / "file", bin_dir) == ["two", "one"]


def test_a_folder_in_the_order_of_its_names(tmp_path: Path, bin_dir: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "20.yaml", "one")
    write(folder / "10.yml", "two")
    (folder / "README").write_text("not read")
    assert names(folder, bin_dir) == ["two", "one"]
    write(folder / "30.json", "two")
    with pytest.raises(ConfigError, match="two is in two of its files"):
        node_providers(folder, bin_dir)


def test_what_is_not_there_is_no_fault_of_the_node(tmp_path: Path, bin_dir: Path) -> None:
    found = node_providers(tmp_path / "file", bin_dir)
    assert found.usable == ()
    assert "this node has no plugins" in found.passed_over[0]


def test_what_cannot_be_used_here_is_passed_over(tmp_path: Path, bin_dir: Path) -> None:
    write(tmp_path / "file", "one", "gone")
    text = (tmp_path / "file").read_text() + PROVIDER.format(name="two") + "    tokenAttributes: {cacheType: Token}\n"
    (tmp_path / "file").write_text(text)
    found = node_providers(tmp_path / "file", bin_dir)
    assert [provider.name for provider in found.usable] == ["one"]
    assert [words.partition(" (")[0].rpartition("/")[2] for words in found.passed_over] == [
        "gone: no executable file", "two: wants a Pod's service account",
    ]  # fmt: skip


def test_a_broken_file_is_a_wrong_call(tmp_path: Path, bin_dir: Path) -> None:
    (tmp_path / "file").write_text(HEAD + "  - {}\n")
    with pytest.raises(ConfigError, match=r"file: providers\[0\]"):
        node_providers(tmp_path / "file", bin_dir)
