"""
A model server for gunicorn that computes: a request takes BUSY_MS of processor time, then its number comes back.
One whose filler is "warm" takes none.
"""

import json
import os
import time

BUSY_S = float(os.environ["BUSY_MS"]) / 1000


def application(environ, start_response):
    asked = json.loads(environ["wsgi.input"].read())
    number = asked["id"]
    until = time.thread_time() + (0 if asked["filler"] == "warm" else BUSY_S)
    while time.thread_time() < until:
        pass
    said = json.dumps({"id": number, "answer": "a" * 200}, separators=(",", ":")).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(said)))])
    return [said]
