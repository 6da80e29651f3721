"""A model server for gunicorn that asks Redis for each request, and then works for 20 ms."""

import os
import socket
import threading
import time

local = threading.local()


def ask(command):
    """Sends one command and reads its one reply, on the connection of this thread."""
    if not hasattr(local, "redis"):
        local.redis = socket.create_connection(("127.0.0.1", int(os.environ["REDIS_PORT"])))
    local.redis.sendall(command)
    return local.redis.recv(4096)


def application(environ, start_response):
    environ["wsgi.input"].read()
    feature = ask(b"GET feature\r\n")
    time.sleep(0.02)
    body = b'{"outputs":[1,2,3,4]}' if feature[:1] == b"$" else b'{"error":"no feature"}'
    status = "200 OK" if feature[:1] == b"$" else "503 Service Unavailable"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
