"""kubelet's file of credential provider plugins, `CredentialProviderConfig` of kubelet.config.k8s.io/v1.

The same file that nodes have, or one like it. A provider that needs a Pod's service account token
(`tokenAttributes`) is refused where the file is given to tidegate, and passed over in a node's own: nobody asks here
for a Pod.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator

from tidegate.config.base import ConfigModel
from tidegate.config.document import read
from tidegate.config.errors import ConfigError
from tidegate.config.load import complaints, read_text
from tidegate.config.quantities import Seconds

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._+-]{1,255}", re.ASCII)
_SUFFIXES = frozenset({".json", ".yaml", ".yml"})
"""Of the files in a folder that kubelet reads, in the order of their names."""


class ProviderEnv(ConfigModel):
    """A variable for the plugin, besides those of this process."""

    name: Annotated[str, Field(pattern=r"^[^=\x00]+$")]
    value: SecretStr = SecretStr("")


class ProviderConfig(ConfigModel):
    """One plugin: for which images it is asked, and how it is started."""

    name: str
    """Of the executable in the folder of plugins."""
    api_version: Literal["credentialprovider.kubelet.k8s.io/v1"]
    match_images: Annotated[list[str], Field(min_length=1)]
    default_cache_duration: Seconds
    """How long an answer is kept that says nothing of it."""
    args: list[str] = []
    env: list[ProviderEnv] = []
    token_attributes: object = None

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            message = f"{value!r:.80} is not the name of a file in the folder of plugins"
            raise ValueError(message)
        return value

    @property
    def needs_pod(self) -> bool:
        """Whether it wants to see the token of the Pod that the image is for."""
        return self.token_attributes is not None


class CredentialProviderConfig(ConfigModel):
    """The file."""

    api_version: Literal["kubelet.config.k8s.io/v1"]
    kind: Literal["CredentialProviderConfig"]
    providers: Annotated[list[ProviderConfig], Field(min_length=1)]

    @field_validator("providers")
    @classmethod
    def _have_names_of_their_own(cls, value: list[ProviderConfig]) -> list[ProviderConfig]:
        if len({provider.name for provider in value}) != len(value):
            message = "a provider is named twice"
            raise ValueError(message)
        return value


def load_providers(config: Path, bin_dir: Path) -> list[ProviderConfig]:
    """The plugins of a file, each of which is there and may be started. Raises ConfigError."""
    providers = _parsed(config)
    for place, provider in enumerate(providers):
        if provider.needs_pod:
            message = (
                f"{config}: providers[{place}].tokenAttributes: the gate has no Pod's service account to show; "
                "leave this provider out"
            )
            raise ConfigError(message)
        if fault := _not_there(bin_dir / provider.name):
            raise ConfigError(fault)
    return providers


@dataclass(frozen=True, slots=True)
class NodeProviders:
    """Of a node's own file."""

    usable: tuple[ProviderConfig, ...]
    passed_over: tuple[str, ...]
    """A sentence for each that cannot be used here."""


def node_providers(config: Path, bin_dir: Path) -> NodeProviders:
    """Those of kubelet's own file, or folder of files, that work without a Pod. Raises ConfigError.

    A node without either has none.
    """
    if not config.exists():
        return NodeProviders((), (f"{config}: not there, so this node has no plugins",))
    files = [config] if not config.is_dir() else sorted(one for one in config.iterdir() if one.suffix in _SUFFIXES)
    usable, passed_over = list[ProviderConfig](), list[str]()
    for provider in (one for file in files for one in _parsed(file)):
        if provider.name in {known.name for known in usable}:
            message = f"{config}: the provider {provider.name} is in two of its files"
            raise ConfigError(message)
        if provider.needs_pod:
            passed_over.append(f"{provider.name}: wants a Pod's service account (tokenAttributes)")
        elif fault := _not_there(bin_dir / provider.name):
            passed_over.append(fault)
        else:
            usable.append(provider)
    return NodeProviders(tuple(usable), tuple(passed_over))


def _parsed(config: Path) -> list[ProviderConfig]:
    text = read_text(config)
    try:
        return CredentialProviderConfig.model_validate(read(text)).providers
    except ValidationError as exc:
        message = "\n".join(f"{config}: {line}" for line in complaints(exc).splitlines())
        raise ConfigError(message) from None
    except ConfigError as exc:
        message = f"{config}: {exc}"
        raise ConfigError(message) from exc


def _not_there(plugin: Path) -> str:
    """What is wrong with an executable; empty if nothing is."""
    return "" if plugin.is_file() and os.access(plugin, os.X_OK) else f"{plugin}: no executable file"
