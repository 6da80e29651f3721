"""Validates each document of the YAML on stdin strictly against the schemas of a Kubernetes version (argument 1).
Prints one line for each; exit 1 when any of them is wrong."""
import sys

import kubernetes_validate
import yaml

failed = False
for document in yaml.safe_load_all(sys.stdin):
    name = f"{document['kind']}/{document['metadata']['name']}"
    try:
        kubernetes_validate.validate(document, sys.argv[1], strict=True)
        print(f"{name} valid")
    except kubernetes_validate.ValidationError as error:
        failed = True
        print(f"{name} {'.'.join(str(step) for step in error.path)}: {error.message}")
sys.exit(1 if failed else 0)
