"""What we are willing to be given: the four types that an image or an index has.

A registry that stores a type which is not in the list answers 404, or substitutes another manifest with another
digest (distribution, handlers/manifests.go), so the list is always whole and always the same.
"""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

MANIFESTS = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"

HTML = frozenset({"text/html", "application/xhtml+xml"})
"""What login pages, ingresses and captive portals say in a registry's place."""

_LONGEST = 255


def media_type(header: str | None) -> str:
    """A Content-Type without its parameters, in lower case; empty when there is none."""
    return (header or "").partition(";")[0].strip().lower()[:_LONGEST]
