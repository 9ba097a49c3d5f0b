"""A lagging replica: what is not whole does not enter, and enters when it is."""

from collections.abc import Callable

import pytest
from bed import HOME, LOCAL, PULLED_FROM, Cluster, lose, push, put_blob, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
CRON_JOB = """
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: app, image: "{image}"}}]}}}}}}}}
"""


def test_an_image_that_lacks_a_blob_on_local_is_refused_and_enters_when_it_arrives(
    tidegate: Cluster, step: Callable[[str], None]
) -> None:
    step("a pipeline pushes to home; the replica has all but one layer")
    digest = push(f"{HOME}/shop/web:1")
    [(layer, data)] = replicate("shop/web", digest, "1")
    lose("shop/web", layer)
    image = f"{PULLED_FROM}/shop/web:1@{digest}"

    for name, kind, manifest in (("web", "Deployment", DEPLOYMENT), ("web", "Pod", POD), ("web", "CronJob", CRON_JOB)):
        refused = tidegate.apply(manifest.format(name=name, image=image), check=False)
        step(f"kubectl apply of a {kind}:\n{refused.err.strip()}")
        assert refused.code != 0
        assert "validate.tidegate.dev" in refused.err
        assert image in refused.err
        assert "local" in refused.err
        assert "1 of 2 blobs" in refused.err

    step("the layer arrives")
    put_blob(LOCAL, "shop/web", layer, data)
    tidegate.until(
        "the Deployment is admitted",
        lambda: tidegate.apply(DEPLOYMENT.format(name="web", image=image), check=False).code == 0,
        within_s=10,
    )
    tidegate.kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout_s=90)
    tidegate.apply(CRON_JOB.format(name="web", image=image))
    step("admitted, and running: " + tidegate.kubectl("get", "deployment", "web", "--no-headers").out.strip())


@pytest.mark.parametrize(
    "image, words",
    [
        pytest.param(f"{PULLED_FROM}/shop/never@sha256:{'0' * 64}", "absent", id="absent"),
        pytest.param(f"{PULLED_FROM}/shop/web:1", "not-pinned", id="not-pinned"),
        pytest.param(f"{PULLED_FROM}/shop/web@sha256:123", "malformed", id="malformed"),
    ],
)
def test_what_is_refused_says_why(tidegate: Cluster, image: str, words: str) -> None:
    refused = tidegate.apply(POD.format(name="refused", image=image), check=False)
    assert refused.code != 0
    assert words in refused.err, refused.err


def test_a_scale_of_what_was_admitted_is_never_denied(tidegate: Cluster) -> None:
    digest = push(f"{HOME}/shop/scale:1")
    [(layer, data)] = replicate("shop/scale", digest, "1")
    image = f"{PULLED_FROM}/shop/scale@{digest}"
    tidegate.apply(DEPLOYMENT.format(name="scale", image=image).replace("replicas: 1", "replicas: 0"))
    lose("shop/scale", layer)
    tidegate.kubectl("scale", "deployment/scale", "--replicas=0")
    tidegate.kubectl("annotate", "deployment/scale", "note=still-there")
    put_blob(LOCAL, "shop/scale", layer, data)
