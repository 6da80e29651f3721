"""Writes a published run as an offline run of Weights & Biases or ClearML, with their own SDK.

Usage: offline_tracker.py wandb|clearml DIRECTORY < RUN.json

Standard input holds `experiment`, `publication` (docs/publication.schema.json) and `artefacts` (`name`, `content`).
The last line of standard output is JSON: `run`, the path of the offline run, and `notes`. Nothing is sent: `wandb sync`
or `clearml-task --import-offline-session` does that later. A run that was written completely is not written again:
`.RUN.published` in the directory marks it.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path


def plain(name):
    """The name of a run as part of a file name."""
    return re.sub(r"[^\w-]", "-", name)


def by_first(series):
    """Values of all series by their second, or by their load: {second: {key: value}}, ascending."""
    rows = {}
    for key, points in series.items():
        for first, value in points:
            rows.setdefault(first, {})[key] = value
    return dict(sorted(rows.items()))


def write_artefacts(directory, artefacts):
    """Writes the artefacts of a run into a directory and returns their paths."""
    paths = []
    for artefact in artefacts:
        path = Path(directory, artefact["name"])
        path.write_text(artefact["content"], encoding="utf-8")
        paths.append(path)
    return paths


def to_wandb(directory, tracked):
    """Writes a run and its children as offline runs of W&B. Returns the folder of the run."""
    import wandb

    publication = tracked["publication"]
    name = plain(publication["id"])
    if list(Path(directory, "wandb").glob(f"offline-run-*-{name}")):
        sys.exit(f"{directory} holds this run already: remove it, or name another directory")
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        host="hidden",
        program="reprise",
        silent=True,
        username="hidden",
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )

    def write(run, artefacts, group):
        with wandb.init(
            config={**run["params"], **run["tags"]},
            dir=directory,
            group=group,
            id=plain(run["id"]),
            job_type=run["kind"],
            mode="offline",
            name=run["id"],
            notes=run["note"],
            project=tracked["experiment"],
            settings=settings,
            tags=[tag for tag in (run["kind"], run["verdict"]) if tag],
        ) as written:
            written.define_metric("seconds")
            written.define_metric("load_percent")
            written.define_metric("*", step_metric="seconds")
            written.define_metric("by_load/*", step_metric="load_percent")
            for second, values in by_first(run["series"]).items():
                written.log({"seconds": second, **values})
            for percent, values in by_first(run.get("curve", {})).items():
                written.log({"load_percent": percent, **values})
            written.summary.update(run["metrics"])
            if artefacts:
                artifact = wandb.Artifact(f"reprise-{written.id}", type="load-test")
                with tempfile.TemporaryDirectory() as folder:
                    for path in write_artefacts(folder, artefacts):
                        artifact.add_file(str(path))
                    written.log_artifact(artifact)
            return Path(written.dir).parent

    children = publication["children"]
    group = name if children else None
    written = write(publication, tracked["artefacts"], group)
    for child in children:
        write(child, [], group)
    return written


def to_clearml(directory, tracked):
    """Writes a run and its children as offline sessions of ClearML. Returns the archive of the run."""
    from clearml import Task

    publication = tracked["publication"]
    Task.set_offline(True)

    def write(run, artefacts, parent):
        name = plain(run["id"])
        archive = Path(directory, f"{name}.zip")
        if archive.exists():
            sys.exit(f"{archive} is there already: remove it, or name another directory")
        task = Task.init(
            auto_connect_arg_parser=False,
            # Otherwise ClearML would store the repository around this file, with its uncommitted changes.
            auto_connect_frameworks={"detect_repository": False},
            auto_connect_streams=False,
            auto_resource_monitoring=False,
            project_name=tracked["experiment"],
            reuse_last_task_id=False,
            tags=[tag for tag in (run["kind"], run["verdict"]) if tag],
            task_name=run["id"],
            task_type=Task.TaskTypes.testing,
        )
        task.connect(dict(run["params"]), name="General")
        task.connect({**run["tags"], **({"reprise.parent": parent} if parent else {})}, name="Reprise")
        task.set_comment(run["note"])
        logger = task.get_logger()
        for key, value in run["metrics"].items():
            logger.report_single_value(key, value)
        # The steps of a curve are percent of the recorded load.
        for key, points in {**run["series"], **run.get("curve", {})}.items():
            for step, value in points:
                logger.report_scalar(key, key, value, iteration=round(step))
        with tempfile.TemporaryDirectory() as folder:
            for path in write_artefacts(folder, artefacts):
                task.upload_artifact(path.name, artifact_object=path, wait_on_upload=True)
        session = Path(task.get_offline_mode_folder())
        task.close()
        shutil.move(f"{session}.zip", archive)
        return archive

    written = write(publication, tracked["artefacts"], None)
    for child in publication["children"]:
        write(child, [], publication["id"])
    return written


def main():
    tracker, directory = sys.argv[1:]
    tracked = json.load(sys.stdin)
    # The SDK's output goes to standard error, because standard output is for the answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    os.makedirs(directory, exist_ok=True)
    write = {"wandb": to_wandb, "clearml": to_clearml}[tracker]
    publication = tracked["publication"]
    published = Path(directory, f".{plain(publication['id'])}.published")
    digest = hashlib.sha256(json.dumps(publication, sort_keys=True).encode()).hexdigest()
    known = json.loads(published.read_text()) if published.exists() else {}
    if known.get("digest") == digest and Path(directory, known["run"]).exists():
        written = Path(directory, known["run"])
    else:
        with tempfile.TemporaryDirectory() as cache:
            os.environ.update(
                CLEARML_CACHE_DIR=cache,
                # Replaces the name of this machine.
                CLEARML_WORKER_NAME="reprise",
                # Artefacts are stored beside the run, so that the directory can be moved before it is synced.
                WANDB_DATA_DIR=os.path.abspath(directory),
            )
            written = write(os.path.abspath(directory), tracked)
        place = os.path.relpath(written, directory)
        published.write_text(json.dumps({"digest": digest, "run": place}))
    with os.fdopen(answer, "w", encoding="utf-8") as output:
        output.write(json.dumps({"run": os.path.abspath(written)}) + "\n")


if __name__ == "__main__":
    main()
