"""Which configured registry a reference belongs to, however its host is spelled."""

from collections.abc import Collection
from dataclasses import replace

from tidegate.reference import ImageReference


def listed_as(reference: ImageReference, hosts: Collection[str]) -> ImageReference:
    """The reference under the configuration's spelling of its host, or as it is where that is not listed.

    Case and `:443` make another string for the same registry, which a node would pull from all the same: they must
    not be a way past a check.
    """
    if reference.domain in hosts:
        return reference
    plain = plain_host(reference.domain)
    same = next((host for host in hosts if plain_host(host) == plain), None)
    return reference if same is None else replace(reference, domain=same)


def plain_host(host: str) -> str:
    """What two spellings of one registry have in common."""
    return host.lower().removesuffix(":443")
