"""A model server for gunicorn: an echo, a stream and a large answer."""

import hashlib
import json


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        said = json.dumps({"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(said)))])
        return [said]
    if path == "/large":
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "1048576")])
        return [b"z" * 1_048_576]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return (f"data: {number}\n\n".encode() for number in range(5))
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []
