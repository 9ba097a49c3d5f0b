"""tidegate on the bed: its objects, its certificate, its three programs in pods, and the gate armed."""

import base64
import json
import string
import sys
from pathlib import Path

import trustme
from bed import CHECKOUT, Cluster

from tidegate.admission import webhook_configurations
from tidegate.config import parse
from tidegate.config.policy import compile_policy

MANIFESTS = Path(__file__).parent / "manifests"
PROGRAMS = ("deployment/tidegate-webhook", "deployment/tidegate-controller", "daemonset/tidegate-agent")
CRDS = ("prepulls", "nodepulls", "imageavailabilities")


def install(cluster: Cluster, config: str) -> None:
    """All of it, with the text of a configuration file; returns when it is ready."""
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: tidegate}\n")
    folder = CHECKOUT / "manifests"
    cluster.kubectl(
        "apply", "-f", str(folder / "crds"), "-f", str(folder / "rbac.yaml"), "-f", str(folder / "gates.yaml")
    )
    established = [f"crd/{plural}.tidegate.dev" for plural in CRDS]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=20s", *established)
    configure(cluster, config)
    authority = certificate(cluster)
    folders = {"checkout": str(CHECKOUT), "venv": sys.prefix, "python": str(Path(sys.base_prefix).resolve())}
    cluster.apply(programs(folders))
    for what in PROGRAMS:
        cluster.kubectl("rollout", "status", "-n", "tidegate", what, "--timeout=120s", timeout_s=150)
    mode = compile_policy(parse(config).policy).base.mode
    for gate in webhook_configurations(mode, own="tidegate", authority=authority):
        cluster.apply(json.dumps(gate))


def configure(cluster: Cluster, config: str) -> None:
    """The ConfigMap that the programs mount."""
    metadata = {"name": "tidegate", "namespace": "tidegate"}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": config}}
    cluster.apply(json.dumps(document))


def programs(folders: dict[str, str]) -> str:
    """The manifests of the programs, with the folders of this machine."""
    text = string.Template((MANIFESTS / "programs.yaml").read_text()).substitute(folders)
    if folders["python"] == "/usr":  # Debian's own interpreter comes with /usr
        text = "\n".join(line for line in text.splitlines() if "name: python," not in line)
    return text


def certificate(cluster: Cluster) -> str:
    """Issue the webhook's certificate (ECDSA), store it, and return the CA as the API server wants it."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    leaf = authority.issue_cert("tidegate-webhook.tidegate.svc", key_type=trustme.KeyType.ECDSA)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    cluster.apply(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n"
        "metadata: {name: tidegate-webhook-tls, namespace: tidegate}\n"
        f"data:\n  tls.crt: {base64.b64encode(chain).decode()}\n"
        f"  tls.key: {base64.b64encode(leaf.private_key_pem.bytes()).decode()}\n"
    )
    return base64.b64encode(authority.cert_pem.bytes()).decode()
