"""Reads results of Reprise with the programs that their forms belong to, and prints what those found as JSON."""

import json
import sys
from importlib.metadata import version


def llm_d(path):
    import jsonschema
    from llmd_benchmark_report import import_benchmark_report, make_json_schema

    with open(path, encoding="utf-8") as file:
        jsonschema.validate(json.load(file), json.loads(make_json_schema("0.2")))
    report = import_benchmark_report(path)
    return {"version": version("llmd-benchmark-report"), **report.model_dump(mode="json")}


def converted(path):
    """What llm-d makes of an export of AIPerf."""
    from llmd_benchmark_report.native_to_br0_2 import import_aiperf

    return import_aiperf(path).model_dump(mode="json")


def aiperf(path):
    from aiperf.common.models import JsonExportData

    with open(path, encoding="utf-8") as file:
        export = JsonExportData.model_validate_json(file.read())
    return {"version": version("aiperf"), **export.model_dump(mode="json", exclude_none=True)}


print(json.dumps({"llm-d": llm_d, "converted": converted, "aiperf": aiperf}[sys.argv[1]](sys.argv[2])))
