"""A component of Kubeflow Pipelines (v2) that replays a capture and gives its verdict, metrics and report.

`python component.py replay.yaml` compiles it. The image is the one that deploy/Dockerfile builds; `REPRISE_IMAGE` names
yours.
"""

import os
import sys

from kfp import compiler, dsl

IMAGE = os.environ.get("REPRISE_IMAGE", "registry.example/reprise:0.1.0")

# FAIL and INCONCLUSIVE are results: a task that fails would have no outputs. The gate decides. A run that was stopped
# because its target failed (status 5) was judged too; with no summary, as if the target cannot be reached, it was not.
REPLAY = """
if [ -e "$5" ]; then echo "$5 exists: it would be taken for this run" >&2; exit 2; fi
reprise replay "$1" --target "$2" --multiplier "$3" --slo "$4" --out "$5"
status=$?
if [ -e "$5/summary.json" ]; then exec reprise publish "$5" --to "kubeflow:$6"; fi
exit "$status"
"""


@dsl.container_component
def replay(
    capture: dsl.Input[dsl.Dataset],
    target: str,
    slo: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    run: dsl.Output[dsl.Artifact],
    verdict: dsl.OutputPath(str),
    multiplier: float = 1.0,
):
    """Plays a capture against a target and judges it by an objective, such as `latency: p(99)<200`."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", REPLAY, "replay"],
        args=[capture.path, target, multiplier, slo, run.path, "{{$}}"],
    )


if __name__ == "__main__":
    compiler.Compiler().compile(replay, sys.argv[1])
