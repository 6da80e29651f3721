"""Reads an InferenceService on stdin into the KServe SDK's own types and writes it back: a key that is dropped or
changed on the way is one that KServe does not know. Exit 1 then, naming it."""
import json
import sys

import yaml
from kserve import V1beta1InferenceService
from kubernetes.client import ApiClient
import kserve.models


class Response:
    def __init__(self, document):
        self.data = json.dumps(document)


def differences(given, back, path):
    if isinstance(given, dict) and isinstance(back, dict):
        for key, value in given.items():
            if key not in back:
                yield f"{path}.{key} is not known"
            else:
                yield from differences(value, back[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for index, (one, other) in enumerate(zip(given, back)):
            yield from differences(one, other, f"{path}[{index}]")
    elif given != back:
        yield f"{path} came back as {back!r}"


client = ApiClient()
# The client looks types up in its own module; KServe's are beside it.
import kubernetes.client.models as known

for name in dir(kserve.models):
    if name.startswith(("V1", "Knative")) and not hasattr(known, name):
        setattr(known, name, getattr(kserve.models, name))

document = yaml.safe_load(sys.stdin)
service = client.deserialize(Response(document), "V1beta1InferenceService")
assert isinstance(service, V1beta1InferenceService)
problems = list(differences(document, client.sanitize_for_serialization(service), "InferenceService"))
print("\n".join(problems) or "InferenceService valid")
sys.exit(1 if problems else 0)
