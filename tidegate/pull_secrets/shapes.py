"""As much of a Secret and of a ServiceAccount as is kept. Nothing of a Secret's data is in its repr."""

import msgspec

from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Metadata

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CONFIG = "kubernetes.io/dockercfg"
DATA_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CONFIG: ".dockercfg"}
"""Type → the one key of its data that counts. Source: k8s.io/api core/v1 types.go."""


class PullSecretObject(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A Secret. `data` is base64, as on the wire."""

    metadata: Metadata = Metadata()
    type: str = ""
    data: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"PullSecretObject({self.metadata.namespace}/{self.metadata.name})"

    @property
    def config(self) -> str:
        """The docker config in it, base64; empty if there is none."""
        return self.data.get(DATA_KEYS.get(self.type, ""), "")

    def slim(self, *, most: int) -> "PullSecretObject":
        """Without what nobody needs: annotations may repeat the data. A config longer than `most` is left out too."""
        metadata = self.metadata
        config = self.config
        return PullSecretObject(
            metadata=Metadata(
                name=metadata.name, namespace=metadata.namespace, uid=metadata.uid,
                resource_version=metadata.resource_version,
            ),
            type=self.type,
            data={DATA_KEYS[self.type]: config} if config and len(config) <= most else {},
        )  # fmt: skip


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class ServiceAccount(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Whose pull secrets count for objects that name none."""

    metadata: Metadata = Metadata()
    image_pull_secrets: list[_Named] = []


PULL_SECRETS = Resource("", "v1", "secrets", "Secret", True, PullSecretObject)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True, ServiceAccount)
