"""Plugins that are real programs, written by the test that runs them."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tidegate.config.credential_providers import ProviderConfig
from tidegate.registry.auth.providers import Provider, ProvidersSource

HEAD = f"#!{sys.executable} -ISE\n"
ANSWERING = """
import json, os, sys
request = json.load(sys.stdin)
with open({record!r}, "a") as record:
    record.write(json.dumps({{"request": request, "args": sys.argv[1:], "env": os.environ.get("WHO")}}) + "\\n")
print(json.dumps({response!r}))
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Plugins:
    """A folder of plugins, and what each was asked."""

    def __init__(self, folder: Path) -> None:
        self.bin_dir = folder / "bin"
        self.bin_dir.mkdir()
        self.folder = folder
        self.clock = Clock()

    def script(self, name: str, text: str) -> None:
        path = self.bin_dir / name
        path.write_text(HEAD + text)
        path.chmod(0o755)

    def answering(self, name: str, auth: Mapping[str, tuple[str, str]] | None, **more: Any) -> None:
        """A plugin that gives the same to everybody, and keeps a record."""
        response = {
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "auth": auth and {key: {"username": who, "password": secret} for key, (who, secret) in auth.items()},
            **more,
        }
        self.script(name, ANSWERING.format(record=str(self.folder / name), response=response))

    def asked(self, name: str) -> list[dict[str, Any]]:
        record = self.folder / name
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def images(self, name: str) -> list[str]:
        return [one["request"]["image"] for one in self.asked(name)]

    def provider(self, name: str, *, longest_s: float = 10.0, **more: Any) -> Provider:
        config = {
            "name": name,
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "matchImages": ["*.example"],
            "defaultCacheDuration": "10m",
        }
        parsed = ProviderConfig.model_validate(config | more)
        return Provider(parsed, bin_dir=self.bin_dir, clock=self.clock, longest_s=longest_s)

    def source(self, *providers: Provider, patience_s: float = 10.0) -> ProvidersSource:
        return ProvidersSource(place=0, label="credentialProvider", providers=providers, patience_s=patience_s)

    def file(self, *names: str, more: str = "") -> Path:
        """kubelet's configuration file of these plugins."""
        path = self.folder / "providers.yaml"
        entries = "".join(
            f"""
  - name: {name}
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: ["*.example"]
    defaultCacheDuration: 12h0m0s
{more}"""
            for name in names
        )
        path.write_text(
            f"apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:{entries or ' []'}\n"
        )
        return path


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


@pytest.fixture
def spelled() -> Callable[[Any], list[tuple[str, str]]]:
    """Credentials as user names and passwords."""
    return lambda found: [(who.username, who.password) for who in found]
