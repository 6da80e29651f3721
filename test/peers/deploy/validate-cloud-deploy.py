"""Checks files of Cloud Deploy on standard input, and ends with 1 for one that is wrong.

validate-cloud-deploy.py skaffold SCHEMA: against Skaffold's own schema.
validate-cloud-deploy.py pipeline: against the messages of Google's client.
"""

import json
import sys

import yaml

document = yaml.safe_load(sys.stdin)
if sys.argv[1] == "skaffold":
    import jsonschema

    with open(sys.argv[2], encoding="utf-8") as file:
        jsonschema.validate(document, json.load(file))
else:
    from google.cloud import deploy_v1
    from google.protobuf import json_format

    assert document.pop("apiVersion") == "deploy.cloud.google.com/v1"
    kind = getattr(deploy_v1, document.pop("kind"))
    # A resource is known by its name; in a file that is a part of its metadata.
    document |= document.pop("metadata")
    json_format.ParseDict(document, kind.pb(kind()))
print(json.dumps({"valid": True}))
