"""Runs the component and the pipeline of deploy/kubeflow by kfp's own local runner, and prints what came of them.

kubeflow_runs.py FOLDER ROOT CAPTURE LONG TARGET BROKEN UNREACHABLE. kfp resolves every placeholder and
reads every output; in place of a container engine, the command of each container runs as a process of this machine.
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import docker
import kfp
from kfp import compiler, dsl, local

folder, root, capture, long, target, broken, unreachable = sys.argv[1:]
sys.path.insert(0, folder)
sys.dont_write_bytecode = True
import component  # noqa: E402
import pipeline  # noqa: E402


class Container:
    """One command that has run."""

    def __init__(self, image, command, **_):
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        commands.append({"image": image, "name": command[3], "status": ran.returncode})
        self.ran = ran

    def logs(self, stream):
        return [self.ran.stdout]

    def wait(self):
        return {"StatusCode": self.ran.returncode}


commands = []
docker.from_env = lambda: SimpleNamespace(
    close=lambda: None,
    containers=SimpleNamespace(run=Container),
    images=SimpleNamespace(list=list, pull=lambda image: None),
    info=lambda: {},
)
local.init(runner=local.DockerRunner(), pipeline_root=root)


def outputs_of(task):
    """Parameters as they are; of an artefact its type, metadata and whether its file is there."""
    return {
        name: {
            "type": value.schema_title,
            "metadata": value.metadata,
            "path": value.path,
            "exists": os.path.exists(value.path),
        }
        if isinstance(value, dsl.Artifact)
        else value
        for name, value in task.outputs.items()
    }


Outputs = NamedTuple("Outputs", verdict=str, metrics=dsl.Metrics, report=dsl.HTML, run=dsl.Artifact)


@dsl.pipeline
def one_replay(capture_uri: str, target: str, slo: str) -> Outputs:
    """The component alone, with a capture from a store."""
    captured = dsl.importer(artifact_uri=capture_uri, artifact_class=dsl.Dataset, reimport=True)
    played = component.replay(capture=captured.output, target=target, slo=slo, multiplier=2.0).outputs
    return Outputs(**{name: played[name] for name in Outputs._fields})


def run(definition, **inputs):
    """The pipeline's outputs, or the error that ended it, with the tasks that ran."""
    commands.clear()
    try:
        task = definition(**inputs)
        return {"outputs": outputs_of(task), "commands": list(commands)}
    except Exception as error:
        return {"error": str(error), "commands": list(commands)}


found = {"version": kfp.__version__}
for name, definition in (("component", component.replay), ("pipeline", pipeline.release)):
    compiler.Compiler().compile(definition, os.path.join(root, f"{name}.yaml"))
found["replay"] = run(one_replay, capture_uri=capture, target=target, slo="latency: p(95)<60000")
for name, url in (("broken", broken), ("unreachable", unreachable)):
    found[name] = run(one_replay, capture_uri=long, target=url, slo="latency: p(95)<60000")
release = {"capture_uri": capture, "target": target, "image": "registry.example/model:2"}
found["held"] = run(pipeline.release, slo="latency: p(95)<0.001", **release)
found["gates"] = {verdict: run(pipeline.gate, verdict=verdict) for verdict in ("PASS", "FAIL", "INCONCLUSIVE")}
print(json.dumps(found))
