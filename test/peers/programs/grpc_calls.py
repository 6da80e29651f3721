"""A server of gRPC and a client that makes every kind of call, for what passes between them to be compared.

`grpc_calls.py serve` prints its port, and at SIGTERM what it got. `grpc_calls.py call PORT` prints one JSON object for each call.
Messages are any bytes, and are reported by size and hash.
"""

import hashlib
import json
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LARGE = 64 * 1024 * 1024
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


def told(message):
    return [len(message), hashlib.sha256(message).hexdigest()[:16]]


class Calls(grpc.GenericRpcHandler):
    def __init__(self):
        self.got = {}
        self.lock = threading.Lock()

    def note(self, context, message):
        call = dict(context.invocation_metadata())["x-call"]
        with self.lock:
            self.got.setdefault(call, []).append(told(message))

    def unary(self, message, context):
        self.note(context, message)
        context.set_trailing_metadata((("x-bytes", str(len(message))), ("x-raw-bin", b"\x00\xff")))
        return message if len(message) < LARGE else str(len(message)).encode()

    def refuse(self, message, context):
        self.note(context, message)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many: 5 % at once, caf\u00e9")

    def slow(self, message, context):
        self.note(context, message)
        while context.is_active():
            time.sleep(0.01)
        return b""

    def server_stream(self, message, context):
        self.note(context, message)
        for at in range(20):
            yield b"part %d " % at + message
            time.sleep(0.002)

    def endless(self, message, context):
        self.note(context, message)
        while context.is_active():
            yield message
            time.sleep(0.01)

    def client_stream(self, messages, context):
        count = 0
        for message in messages:
            self.note(context, message)
            count += 1
        return b"%d" % count

    def both(self, messages, context):
        for message in messages:
            self.note(context, message)
            yield message[::-1]

    def service(self, details):
        method = details.method.rpartition("/")[2]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }.get(method)


def serve():
    calls = Calls()
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[calls], options=UNLIMITED)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(5).wait()
    print(json.dumps(calls.got), flush=True)


class Caller:
    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"
        self.lock = threading.Lock()

    def channel(self, **options):
        return grpc.insecure_channel(self.address, options=UNLIMITED, **options)

    def report(self, call, status, messages, **more):
        line = {"call": call, "status": status.name, "messages": [told(each) for each in messages], **more}
        with self.lock:
            print(json.dumps(line), flush=True)

    def unary(self, channel, call, message, method="Unary", timeout=60):
        invoke = channel.unary_unary(f"/acme.v2.Everything/{method}")
        try:
            answer, done = invoke.with_call(message, metadata=(("x-call", call),), timeout=timeout)
            self.report(call, done.code(), [answer], trailers=[key for key, _ in done.trailing_metadata()])
        except grpc.RpcError as error:
            self.report(call, error.code(), [], details=error.details())

    def stream(self, channel, kind, call, messages, method, most=None):
        invoke = getattr(channel, kind)(f"/acme.v2.Everything/{method}")
        answers, got = invoke(messages, metadata=(("x-call", call),), timeout=60), []
        try:
            for answer in answers:
                got.append(answer)
                if len(got) == most:
                    answers.cancel()
        except grpc.RpcError:
            pass
        self.report(call, answers.code(), got)


def paced(count, gap):
    for at in range(count):
        yield b"message %d" % at
        time.sleep(gap)


def call(port):
    caller = Caller(port)
    with caller.channel() as channel:
        state = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert state.status == health_pb2.HealthCheckResponse.SERVING
        caller.unary(channel, "unary", b"one message")
        caller.unary(channel, "empty", b"")
        caller.unary(channel, "megabyte", bytes(range(256)) * 4096)
        caller.stream(channel, "unary_stream", "server-stream", b"x" * 100, "ServerStream")
        caller.stream(channel, "stream_stream", "both", paced(10, 0.005), "Both")
        invoke = channel.stream_unary("/acme.v2.Everything/ClientStream")
        answer, done = invoke.with_call(paced(10, 0.01), metadata=(("x-call", "client-stream"),), timeout=60)
        caller.report("client-stream", done.code(), [answer])
        caller.unary(channel, "refused", b"x", method="Refuse")
        caller.unary(channel, "deadline", b"x", method="Slow", timeout=0.25)
        caller.stream(channel, "unary_stream", "cancelled", b"x", "Endless", most=3)
        caller.unary(channel, "unknown", b"x", method="Nothing")
    with caller.channel(compression=grpc.Compression.Gzip) as channel:
        caller.unary(channel, "gzip", b"the same again " * 10_000)
    with caller.channel() as channel, futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: caller.unary(channel, f"parallel-{at}", b"%d" % at * 500), range(200)))
    with caller.channel() as channel:
        caller.unary(channel, "large", bytes(LARGE))


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(sys.argv[2])
