"""Reviews as an API server sends them: defaulted objects with managedFields, and all that a request says beside them.

Everything is the same at each run. The Pod is one of a ReplicaSet with a sidecar, about 6 KB by itself.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMESPACE = "shop"
UID = "705ab4f5-6393-11e8-b7cc-{:012x}"
_NOW = "2026-11-24T09:30:00Z"
_UNMANAGED = frozenset({"name", "namespace", "uid", "creationTimestamp", "managedFields", "generation"})
_LISTED_BY = ("uid", "name", "containerPort", "key", "type", "mountPath", "ip")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind lives."""

    group: str
    kind: str
    plural: str


POD = Kind("", "Pod", "pods")
DEPLOYMENT = Kind("apps", "Deployment", "deployments")


def pod(images: Sequence[str]) -> Json:
    """A Pod of a ReplicaSet, defaulted as before validating admission: one container an image."""
    owner = {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "checkout-7c9d6b5f4d",
        "uid": "0b6f3c1e-6f3d-4d8e-9c55-3b1d2b7a9e10", "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    metadata = {
        "generateName": "checkout-7c9d6b5f4d-", "namespace": NAMESPACE, "uid": "5f0d4cde-1c07-4b55-8a36-6d8c1f4f2a77",
        "creationTimestamp": _NOW, "labels": {**_labels(), "pod-template-hash": "7c9d6b5f4d"},
        "annotations": _annotations(), "ownerReferences": [owner],
    }  # fmt: skip
    spec = _pod_spec(images)
    spec["volumes"].append(_api_access())
    for container in spec["containers"]:
        container["volumeMounts"].append(
            {"name": "kube-api-access-x7k2p", "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/sa"}
        )
    spec |= {
        "serviceAccountName": "checkout", "serviceAccount": "checkout", "priority": 0, "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority", "tolerations": list(_tolerations()),
    }  # fmt: skip
    made = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec}
    metadata["managedFields"] = [_managed(made, "kube-controller-manager", "v1")]
    return made | {"status": {"phase": "Pending", "qosClass": "Burstable"}}


def deployment(images: Sequence[str]) -> Json:
    """The Deployment whose Pod that is, as `kubectl apply` makes it."""
    metadata = {
        "name": "checkout", "namespace": NAMESPACE, "uid": "8a52c2ab-6fd0-4c4e-8d7b-0e4c7a3f6c11", "generation": 1,
        "creationTimestamp": _NOW, "labels": _labels(), "annotations": {"deployment.kubernetes.io/revision": "1"},
    }  # fmt: skip
    spec = {
        "replicas": 12, "selector": {"matchLabels": {"app.kubernetes.io/name": "checkout"}},
        "template": {
            "metadata": {"creationTimestamp": None, "labels": _labels(), "annotations": _annotations()},
            "spec": _pod_spec(images),
        },
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
    }  # fmt: skip
    made = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec}
    metadata["managedFields"] = [_managed(made, "kubectl-client-side-apply", "apps/v1")]
    return made | {"status": {}}


def bodies(kind: Kind, made: Json, *, count: int) -> list[tuple[str, bytes]]:
    """That many reviews of one creation, each with a uid of its own: (uid, body), compact as Go writes it."""
    whole = json.dumps(_review(kind, made, UID.format(0)), separators=(",", ":"))
    uids = [UID.format(number) for number in range(1, count + 1)]
    return [(uid, whole.replace(UID.format(0), uid).encode()) for uid in uids]


def _review(kind: Kind, made: Json, uid: str) -> Json:
    gvk = {"group": kind.group, "version": "v1", "kind": kind.kind}
    gvr = {"group": kind.group, "version": "v1", "resource": kind.plural}
    account = "system:serviceaccount:kube-system:replicaset-controller"
    request = {
        "uid": uid, "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
        "name": made["metadata"].get("name", ""), "namespace": NAMESPACE, "operation": "CREATE",
        "userInfo": {
            "username": account, "uid": "2f4c1f5e-1f1f-4a9e-8bd0-0a7e3a1d9c42",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=0d6b1b7c-8a7f-4b6a-9a2b-5d1c3e4f6a7b"],
                "authentication.kubernetes.io/node-name": ["control-plane-1"],
            },
        },
        "object": made, "oldObject": None, "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kube-controller-manager"},
    }  # fmt: skip
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _labels() -> dict[str, str]:
    prefix = "app.kubernetes.io"
    return {
        f"{prefix}/name": "checkout", f"{prefix}/instance": "checkout-production", f"{prefix}/version": "2.14.3",
        f"{prefix}/component": "api", f"{prefix}/part-of": "shop", f"{prefix}/managed-by": "Helm", "team": "payments",
    }  # fmt: skip


def _annotations() -> dict[str, str]:
    return {
        "checksum/config": "6d0b1c8e3d5b1b53b1a0c8f4d7e9a2c4f60718293a4b5c6d7e8f901234567890",
        "kubectl.kubernetes.io/default-container": "checkout", "kubectl.kubernetes.io/restartedAt": _NOW,
        "prometheus.io/path": "/metrics", "prometheus.io/port": "9102", "prometheus.io/scrape": "true",
    }  # fmt: skip


def _pod_spec(images: Sequence[str]) -> Json:
    app = {"app.kubernetes.io/name": "checkout"}
    near = {
        "weight": 100,
        "podAffinityTerm": {"labelSelector": {"matchLabels": app}, "topologyKey": "kubernetes.io/hostname"},
    }
    return {
        "volumes": [
            {"name": "config", "configMap": {"name": "checkout-config", "defaultMode": 420}},
            {"name": "tls", "secret": {"secretName": "checkout-tls", "defaultMode": 256, "optional": False}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "2Gi"}},
        ],
        "containers": [_container(number, image) for number, image in enumerate(images)],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 45, "dnsPolicy": "ClusterFirst",
        "nodeSelector": {"kubernetes.io/os": "linux", "pool": "general"},
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "imagePullSecrets": [{"name": "registry"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}},
        "schedulerName": "default-scheduler",
        "topologySpreadConstraints": [
            {
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": app},
            },
        ],
    }  # fmt: skip


def _container(number: int, image: str) -> Json:
    name = "checkout" if number == 0 else f"proxy-{number}"
    return {
        "name": name, "image": image, "args": ["--config=/etc/checkout/config.yaml", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": 8080 + number, "protocol": "TCP"}],
        "envFrom": [{"configMapRef": {"name": "checkout-environment"}}],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            *(_OWN_ENVIRONMENT if number == 0 else ()),
        ],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "512Mi"}},
        "volumeMounts": [
            {"name": "config", "readOnly": True, "mountPath": "/etc/checkout"},
            {"name": "tls", "readOnly": True, "mountPath": "/etc/checkout/tls"},
            {"name": "scratch", "mountPath": "/var/cache/checkout"},
        ],
        "livenessProbe": _probe("/livez"), "readinessProbe": _probe("/readyz"),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "10"]}}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        },
    }  # fmt: skip


_OWN_ENVIRONMENT: tuple[Json, ...] = (
    {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "checkout-database", "key": "url"}}},
    {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability.svc:4317"},
    {"name": "FEATURES", "value": "fast-checkout,gift-cards,split-payments"},
)


def _probe(path: str) -> Json:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5, "timeoutSeconds": 2,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip


def _api_access() -> Json:
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [field]}},
    ]
    return {"name": "kube-api-access-x7k2p", "projected": {"sources": sources, "defaultMode": 420}}


def _tolerations() -> Iterator[Json]:
    for key in ("not-ready", "unreachable"):
        yield {
            "key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
        }  # fmt: skip


def _managed(made: Json, manager: str, version: str) -> Json:
    fields = {f"f:{key}": _fields(made[key]) for key in ("metadata", "spec")}
    return {
        "manager": manager, "operation": "Update", "apiVersion": version, "time": _NOW, "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }  # fmt: skip


def _fields(value: object) -> Json:
    """What structured merge diff says of a value: `f:` for a field, `k:` for an element of a list with keys."""
    if isinstance(value, Mapping):
        return {".": {}, **{f"f:{key}": _fields(field) for key, field in value.items() if key not in _UNMANAGED}}
    if isinstance(value, list) and value and all(isinstance(element, Mapping) for element in value):
        keyed = [(_key(element), element) for element in value]
        if all(key for key, _ in keyed):
            return {".": {}, **{f"k:{key}": {".": {}, **_named(element)} for key, element in keyed}}
    return {}


def _named(element: Json) -> Json:
    return {f"f:{key}": _fields(value) for key, value in element.items()}


def _key(element: Json) -> str:
    name = next((name for name in _LISTED_BY if name in element), "")
    return json.dumps({name: element[name]}, separators=(",", ":")) if name else ""
