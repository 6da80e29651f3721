"""An example of Kubeflow Pipelines (v2): deploy a model, replay recorded traffic against it, and let it pass or not.

`python pipeline.py pipeline.yaml` compiles it. The gate fails the pipeline for anything but PASS.
"""

import sys

from component import IMAGE, replay
from kfp import compiler, dsl

KUBECTL_IMAGE = "registry.example/kubectl:1.34"

GATE = """
echo "verdict: $1"
test "$1" = PASS
"""


@dsl.container_component
def deploy(deployment: str, container: str, image: str):
    """Gives a deployment of staging another image, and waits until it is ready."""
    script = 'kubectl set image "$1" "$2=$3" && kubectl rollout status "$1" --timeout=10m'
    return dsl.ContainerSpec(
        image=KUBECTL_IMAGE,
        command=["sh", "-c", script, "deploy"],
        args=[deployment, container, image],
    )


@dsl.container_component
def gate(verdict: str):
    """Fails for anything but PASS: INCONCLUSIVE is no pass."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", GATE, "gate"], args=[verdict])


@dsl.pipeline(name="release-load-test")
def release(
    capture_uri: str,
    target: str,
    image: str,
    slo: str = "latency: p(99)<200",
    multiplier: float = 1.0,
    deployment: str = "deployment/model",
    container: str = "model",
):
    """Deploys, replays, gates."""
    deployed = deploy(deployment=deployment, container=container, image=image)
    capture = dsl.importer(artifact_uri=capture_uri, artifact_class=dsl.Dataset, reimport=True)
    played = replay(capture=capture.output, target=target, slo=slo, multiplier=multiplier).after(deployed)
    # The same capture against another build is another run.
    played.set_caching_options(enable_caching=False)
    gate(verdict=played.outputs["verdict"])


if __name__ == "__main__":
    compiler.Compiler().compile(release, sys.argv[1])
