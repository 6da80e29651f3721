"""Validates the compose file on stdin against the schema of the Compose specification (argument 1: its path)."""
import json
import sys

import jsonschema
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
errors = list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(sys.stdin)))
for error in errors:
    print(f"{'.'.join(str(step) for step in error.path)}: {error.message}")
print("compose file valid" if not errors else f"{len(errors)} problems")
sys.exit(1 if errors else 0)
