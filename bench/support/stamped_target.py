"""
The same target as arrival-server.ts, but with the time at which the kernel received each request. So a target that waits
for a processor does not make requests look late.

A TCP socket reports the time of the last segment that a read took. Requests of benches are one segment on loopback. If
head and body are two, it is the body's. Messages to and from the parent are those of arrival-server.ts, as JSON lines on
the channel that Node opens for a child.
"""

import json
import os
import re
import selectors
import socket
import struct
import time

RESPONSE = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"text":"ok"}'
HEAD_END = b"\r\n\r\n"
PATH = re.compile(rb"^\S+ /(\d+) ")
VEGETA_SEQUENCE = re.compile(rb"\r\nx-vegeta-seq: (\d+)", re.IGNORECASE)
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Of Linux on x86 and ARM; Python has no name for it.
SO_TIMESTAMPNS = 35
READ_BYTES = 65_536
CONTROL_BYTES = socket.CMSG_SPACE(16)

selector = selectors.DefaultSelector()
channel = socket.socket(fileno=int(os.environ["NODE_CHANNEL_FD"]))
arrivals = []
expected = 0
body_bytes = 0


def tell(message):
    channel.sendall(json.dumps(message).encode() + b"\n")


def told(lines=[b""]):
    data = channel.recv(READ_BYTES)
    if data == b"":
        raise SystemExit
    *whole, lines[0] = (lines[0] + data).split(b"\n")
    for line in whole:
        receive(json.loads(line))


def receive(message):
    global arrivals, expected, body_bytes
    if message == "report":
        tell({"arrivals": arrivals, "bodyBytes": body_bytes})
        return
    arrivals, expected, body_bytes = [], message["expect"], 0


def note(head, at_ns):
    global body_bytes
    sequence = VEGETA_SEQUENCE.search(head) or PATH.match(head)
    length = CONTENT_LENGTH.search(head)
    arrivals.extend((int(sequence[1]) if sequence else -1, at_ns))
    count = len(arrivals) // 2
    if count == 1:
        tell("first")
    if count == expected:
        tell("last")
    body = int(length[1]) if length else 0
    body_bytes += body
    return body


def stamp_ns(control):
    """The time of a read on the monotonic clock, which the sender uses."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data)
            ahead_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            return seconds * 1_000_000_000 + nanoseconds - ahead_ns
    raise RuntimeError("the kernel gave no time with a read")


def serve(connection):
    pending, body_left = b"", 0
    while True:
        yield
        try:
            data, control, _, _ = connection.recvmsg(READ_BYTES, CONTROL_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return
        if data == b"":
            return
        at_ns = stamp_ns(control)
        pending += data
        while True:
            skipped = min(body_left, len(pending))
            body_left -= skipped
            pending = pending[skipped:]
            if body_left > 0:
                break
            if skipped > 0:
                connection.sendall(RESPONSE)
            end = pending.find(HEAD_END)
            if end < 0:
                break
            body_left = note(pending[:end], at_ns)
            pending = pending[end + len(HEAD_END) :]
            if body_left == 0:
                connection.sendall(RESPONSE)


def accept():
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    connection.setblocking(False)
    serving = serve(connection)
    next(serving)

    def readable():
        try:
            next(serving)
        except (StopIteration, OSError):
            selector.unregister(connection)
            connection.close()

    selector.register(connection, selectors.EVENT_READ, readable)


listener = socket.create_server(("127.0.0.1", 0), backlog=511)
# So that requests are stamped that come before their connection is accepted.
listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
selector.register(listener, selectors.EVENT_READ, accept)
selector.register(channel, selectors.EVENT_READ, told)
tell({"port": listener.getsockname()[1]})
while True:
    for key, _ in selector.select():
        key.data()
