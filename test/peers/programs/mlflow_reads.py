"""Prints what MLflow's own client reads of the runs of an experiment, as JSON: mlflow_reads.py URL EXPERIMENT."""

import json
import sys

import mlflow
from mlflow.tracking import MlflowClient

url, name = sys.argv[1:]
mlflow.set_tracking_uri(url)
client = MlflowClient()
experiment = client.get_experiment_by_name(name)
runs = []
for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]):
    run_id = run.info.run_id
    histories = {key: client.get_metric_history(run_id, key) for key in run.data.metrics}
    files = [each.path for each in client.list_artifacts(run_id)]
    runs.append(
        {
            "id": run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "datasets": [
                {"name": each.dataset.name, "digest": each.dataset.digest} for each in run.inputs.dataset_inputs
            ],
            "started": run.info.start_time,
            "ended": run.info.end_time,
            "params": run.data.params,
            "tags": run.data.tags,
            "metrics": {
                key: [[each.step, each.timestamp, each.value] for each in points] for key, points in histories.items()
            },
            "artefacts": {path: mlflow.artifacts.load_text(f"runs:/{run_id}/{path}") for path in files},
        }
    )
print(json.dumps({"version": mlflow.__version__, "runs": runs}))
