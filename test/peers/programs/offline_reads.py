"""Prints what the SDKs' own readers find in offline runs, as JSON: offline_reads.py wandb|clearml PATH."""

import json
import struct
import sys
import zipfile
from pathlib import Path


def records_of(path):
    """The records of a `.wandb` file: a log as LevelDB writes it, with 7 bytes before its first block."""
    data = Path(path).read_bytes()
    assert data[:4] == b":W&B", data[:7]
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, part = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        # Whole, or the last part of several.
        if part in (1, 4):
            yield record
            record = b""


def of_wandb(path):
    """All records of a `.wandb` file, as the messages of the SDK."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    found = {"version": wandb.__version__, "config": {}, "summary": {}, "history": [], "artefacts": []}
    for data in records_of(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.update(id=run.run_id, project=run.project, notes=run.notes, tags=list(run.tags), host=run.host)
            found.update(group=run.run_group, job=run.job_type, name=run.display_name)
            found["config"].update({each.key: json.loads(each.value_json) for each in run.config.update})
        elif kind == "config":
            found["config"].update({each.key: json.loads(each.value_json) for each in record.config.update})
        elif kind == "summary":
            for each in record.summary.update:
                found["summary"][each.key or each.nested_key[0]] = json.loads(each.value_json)
        elif kind == "history":
            found["history"].append(
                {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in record.history.item}
            )
        elif kind == "artifact":
            found["artefacts"] += [each.path for each in record.artifact.manifest.contents]
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            manifest = record.request.log_artifact.artifact.manifest
            found["artefacts"] += [each.path for each in manifest.contents]
    return found


def of_clearml(path):
    """The session of an archive, as `Task.import_offline_session` reads it."""
    import clearml

    found = {"version": clearml.__version__}
    with zipfile.ZipFile(path) as archive:
        found["task"] = json.loads(archive.read("task.json"))
        names = archive.namelist()
        found["files"] = names
        for name in ("metrics", "log"):
            lines = archive.read(f"{name}.jsonl").decode().splitlines() if f"{name}.jsonl" in names else []
            found[name] = [json.loads(line) for line in lines]
    return found


print(json.dumps({"wandb": of_wandb, "clearml": of_clearml}[sys.argv[1]](sys.argv[2]), default=str))
