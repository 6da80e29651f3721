"""
The same target as arrival-server.ts, but with the time at which the kernel received each request. So a target that waits
for a processor does not make requests look late.

It also answers gRPC calls, on connections that begin with the preface of HTTP/2. There each message counts as a request,
and has its index as `#12#`. It answers a call when its last message came, or `delayMs` later, with one message.

A TCP socket reports the time of the last segment that a read took. Requests of benches are one segment on loopback. If
head and body are two, it is the body's. Messages to and from the parent are those of arrival-server.ts, as JSON lines on
the channel that Node opens for a child.
"""

import heapq
import itertools
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

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
WINDOW_BYTES, MOST_WINDOW_BYTES = 2**24, 2**30
MESSAGE_INDEX = re.compile(rb"#(\d+)#")
PREFIX_BYTES = 5


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def answer_to(stream):
    # `:status: 200` and `content-type: application/grpc`, then `grpc-status: 0`, none of them in a table.
    head = b"\x88\x0f\x10\x10application/grpc"
    trailers = b"\x00\x0bgrpc-status\x010"
    return (
        frame(HEADERS, END_HEADERS, stream, head)
        + frame(DATA, 0, stream, bytes(PREFIX_BYTES))
        + frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers)
    )


selector = selectors.DefaultSelector()
channel = socket.socket(fileno=int(os.environ["NODE_CHANNEL_FD"]))
arrivals = []
expected = 0
body_bytes = 0
most_streams = 2**31 - 1
delay_ms = 0
# What to send later: when, its number, the connection and the bytes.
later = []
numbers = itertools.count()


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
    global arrivals, expected, body_bytes, most_streams, delay_ms
    if message == "report":
        tell({"arrivals": arrivals, "bodyBytes": body_bytes})
        return
    if "expect" in message:
        arrivals, expected, body_bytes = [], message["expect"], 0
        return
    most_streams, delay_ms = message["streams"], message["delayMs"]


def note(sequence, body, at_ns):
    global body_bytes
    arrivals.extend((int(sequence[1]) if sequence else -1, at_ns))
    count = len(arrivals) // 2
    if count == 1:
        tell("first")
    if count == expected:
        tell("last")
    body_bytes += body


def note_head(head, at_ns):
    length = CONTENT_LENGTH.search(head)
    body = int(length[1]) if length else 0
    note(VEGETA_SEQUENCE.search(head) or PATH.match(head), body, at_ns)
    return body


def stamp_ns(control):
    """The time of a read on the monotonic clock, which the sender uses."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data)
            ahead_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            return seconds * 1_000_000_000 + nanoseconds - ahead_ns
    raise RuntimeError("the kernel gave no time with a read")


def read(connection):
    """Bytes and their time; None at the end."""
    while True:
        yield
        try:
            data, control, _, _ = connection.recvmsg(READ_BYTES, CONTROL_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return None
        return None if data == b"" else (data, stamp_ns(control))


def serve_http2(connection, pending, at_ns):
    settings = struct.pack(">HIHI", MAX_CONCURRENT_STREAMS, most_streams, INITIAL_WINDOW_SIZE, WINDOW_BYTES)
    update = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST_WINDOW_BYTES))
    connection.sendall(frame(SETTINGS, 0, 0, settings) + update)
    unread, taken = {}, 0
    while True:
        replies, at = [], 0
        while len(pending) - at >= 9:
            length = int.from_bytes(pending[at : at + 3], "big")
            if len(pending) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", pending, at + 3)
            payload = pending[at + 9 : at + 9 + length]
            at += 9 + length
            if kind == DATA:
                taken += length
                messages = unread.get(stream, b"") + payload
                while len(messages) >= PREFIX_BYTES:
                    size = PREFIX_BYTES + int.from_bytes(messages[1:PREFIX_BYTES], "big")
                    if len(messages) < size:
                        break
                    note(MESSAGE_INDEX.search(messages, 0, size), size, at_ns)
                    messages = messages[size:]
                unread[stream] = messages
                if flags & END_STREAM:
                    unread.pop(stream)
                    if delay_ms == 0:
                        replies.append(answer_to(stream))
                    else:
                        due = time.monotonic() + delay_ms / 1e3
                        heapq.heappush(later, (due, next(numbers), connection, answer_to(stream)))
            elif kind == SETTINGS and not flags & ACK:
                replies.append(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                replies.append(frame(PING, ACK, 0, payload))
        pending = pending[at:]
        if taken > MOST_WINDOW_BYTES // 2:
            replies.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", taken)))
            taken = 0
        if replies:
            connection.sendall(b"".join(replies))
        came = yield from read(connection)
        if came is None:
            return
        pending += came[0]
        at_ns = came[1]


def serve(connection):
    pending, body_left = b"", 0
    while True:
        came = yield from read(connection)
        if came is None:
            return
        at_ns = came[1]
        pending += came[0]
        if pending.startswith(PREFACE):
            yield from serve_http2(connection, pending[len(PREFACE) :], at_ns)
            return
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
            body_left = note_head(pending[:end], at_ns)
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
    wait_s = max(0, later[0][0] - time.monotonic()) if later else None
    for key, _ in selector.select(wait_s):
        key.data()
    while later and later[0][0] <= time.monotonic():
        _, _, connection, answer = heapq.heappop(later)
        try:
            connection.sendall(answer)
        except OSError:
            pass
