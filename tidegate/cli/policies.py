"""`tidegate policies`: what the API server is told, as YAML for review, for GitOps, or for `kubectl apply -f -`."""

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from tidegate.admission import policies as generated
from tidegate.admission import webhook_configurations
from tidegate.cli.exits import Exit
from tidegate.config import ConfigError, load
from tidegate.config.policy import compile_policy
from tidegate.config.workloads import places_of
from tidegate.workload import PRESETS


def policies(
    *,
    config: Annotated[Path, typer.Option(metavar="FILE", help="The configuration file.")],
    namespace: Annotated[str, typer.Option(metavar="NAME", help="tidegate's own namespace.")] = "tidegate",
    webhooks_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Print the webhook configurations too, which trust the CA in this PEM file."),
    ] = None,
) -> None:
    """Print the ValidatingAdmissionPolicies that follow from the configuration; the controller keeps the same ones."""
    try:
        loaded = load(config)
        authority = None if webhooks_ca is None else base64.b64encode(webhooks_ca.read_bytes()).decode()
    except (ConfigError, OSError) as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(Exit.WRONG_CALL) from exc
    policy = compile_policy(loaded.policy)
    documents = [*generated(policy, [registry.host for registry in loaded.registries], own=namespace)]
    if authority is not None:
        custom = {**PRESETS, **places_of(loaded.workloads)}
        documents += webhook_configurations(policy.base.mode, own=namespace, authority=authority, custom=custom)
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, width=120)
