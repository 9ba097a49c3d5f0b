"""kubelet's file of credential provider plugins, `CredentialProviderConfig` of kubelet.config.k8s.io/v1.

The same file that nodes have, or one like it. A provider that needs a Pod's service account token
(`tokenAttributes`) is refused: the gate asks for itself, not for a Pod.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from tidegate.config.base import ConfigModel
from tidegate.config.document import read
from tidegate.config.errors import ConfigError
from tidegate.config.load import complaints, read_text
from tidegate.config.quantities import Seconds

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._+-]{1,255}", re.ASCII)


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

    @model_validator(mode="after")
    def _needs_no_pod(self) -> Self:
        if self.token_attributes is not None:
            message = "tokenAttributes: the gate has no Pod's service account to show; leave this provider out"
            raise ValueError(message)
        return self


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
    text = read_text(config)
    try:
        providers = CredentialProviderConfig.model_validate(read(text)).providers
    except ValidationError as exc:
        message = "\n".join(f"{config}: {line}" for line in complaints(exc).splitlines())
        raise ConfigError(message) from None
    except ConfigError as exc:
        message = f"{config}: {exc}"
        raise ConfigError(message) from exc
    for provider in providers:
        plugin = bin_dir / provider.name
        if not plugin.is_file() or not os.access(plugin, os.X_OK):
            message = f"{plugin}: no executable file"
            raise ConfigError(message)
    return providers
