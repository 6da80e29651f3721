"""Validates a custom resource on stdin against its definition, whose path is given. Unknown fields are errors."""

import sys

import jsonschema
import yaml


def closed(schema):
    """The schema with unknown fields refused, which the API server prunes in silence."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value) for key, value in schema.items()}
    keeps = copy.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(copy.get("properties"), dict) and not keeps:
        copy.setdefault("additionalProperties", False)
    if copy.get("x-kubernetes-int-or-string"):
        copy.pop("type", None)
    return copy


resource = yaml.safe_load(sys.stdin)
definitions = [each for each in yaml.safe_load_all(open(sys.argv[1])) if each]
version = resource["apiVersion"].split("/")[1]
[schema] = [
    each["schema"]["openAPIV3Schema"]
    for definition in definitions
    if definition["spec"]["names"]["kind"] == resource["kind"]
    for each in definition["spec"]["versions"]
    if each["name"] == version
]
root = closed(schema)
root["properties"]["metadata"] = {"type": "object"}
errors = list(jsonschema.Draft202012Validator(root).iter_errors(resource))
for error in errors:
    print("/".join(map(str, error.path)), error.message[:2000])
sys.exit(1 if errors else 0)
