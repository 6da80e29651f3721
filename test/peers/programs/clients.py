"""Sends what real clients send, and prints what each of them got as one JSON object.

    clients.py KIND URL

KIND: http, openai, websocket, triton-http, triton-grpc or h2.
"""

import asyncio
import hashlib
import json
import subprocess
import sys

# They differ from one answer to the next, whatever is between client and server.
UNSTEADY = {"date", "x-envoy-upstream-service-time"}


def seen(status, headers, body):
    kept = sorted((name.lower(), value) for name, value in headers if name.lower() not in UNSTEADY)
    return {"status": status, "headers": kept, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def pieces():
    for number in range(5):
        yield b"piece %d" % number


def with_requests(url):
    import requests

    with requests.Session() as session:
        for size in (0, 10, 100_000):
            answer = session.post(f"{url}/echo", data=b"x" * size)
            yield f"post {size}", seen(answer.status_code, answer.headers.items(), answer.content)
        answer = session.post(f"{url}/echo", data=pieces())
        yield "post chunked", seen(answer.status_code, answer.headers.items(), answer.content)
        for path in ("/large", "/stream", "/nowhere"):
            answer = session.get(url + path)
            yield f"get {path}", seen(answer.status_code, answer.headers.items(), answer.content)
        answer = session.head(f"{url}/large")
        yield "head /large", seen(answer.status_code, answer.headers.items(), answer.content)


def with_httpx(url):
    import httpx

    with httpx.Client(timeout=20) as client:
        for size in (0, 10, 100_000):
            answer = client.post(f"{url}/echo", content=b"x" * size)
            yield f"post {size}", seen(answer.status_code, answer.headers.multi_items(), answer.content)
        answer = client.post(f"{url}/echo", content=pieces())
        yield "post chunked", seen(answer.status_code, answer.headers.multi_items(), answer.content)
        with client.stream("GET", f"{url}/stream") as answer:
            lines = "\n".join(answer.iter_lines())
            yield "stream", seen(answer.status_code, answer.headers.multi_items(), lines.encode())


def with_aiohttp(url):
    import aiohttp

    async def all_of_them():
        async with aiohttp.ClientSession() as session:
            results = []
            for size in (0, 10, 100_000):
                async with session.post(f"{url}/echo", data=b"x" * size) as answer:
                    results.append((f"post {size}", seen(answer.status, answer.headers.items(), await answer.read())))
            async with session.get(f"{url}/stream") as answer:
                results.append(("stream", seen(answer.status, answer.headers.items(), await answer.read())))
            answers = await asyncio.gather(*(session.get(f"{url}/large") for _ in range(20)))
            for answer in answers:
                results.append(("get /large", seen(answer.status, answer.headers.items(), await answer.read())))
            return results

    yield from asyncio.run(all_of_them())


def with_curl(url):
    for name, flags in {
        "post": ["-d", "{}"],
        "expect": ["-H", "Expect: 100-continue", "--data-binary", "x" * 2_000],
        "close": ["-H", "Connection: close", "-d", "{}"],
        "http1.0": ["--http1.0", "-d", "{}"],
        "head": ["-I"],
    }.items():
        command = ["curl", "-sS", "-i", "--max-time", "20", *flags, f"{url}/echo"]
        said = subprocess.run(command, capture_output=True, check=True).stdout
        # An interim answer comes before the answer, with a head of its own.
        *interim, head, body = said.split(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        headers = [header.split(": ", 1) for header in lines]
        yield name, {"line": line, "interim": [each.decode() for each in interim], **seen(0, headers, body)}


def with_openai(url):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="not-a-real-key", max_retries=0)
    messages = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(model="m", messages=messages)
    yield "completion", answer.model_dump()
    stream = client.chat.completions.create(model="m", messages=messages, stream=True)
    yield "stream", [chunk.model_dump() for chunk in stream]
    try:
        client.chat.completions.create(model="unknown", messages=messages)
    except openai.NotFoundError as error:
        yield "unknown model", {"status": error.status_code, "body": error.body}


def with_websockets(url):
    from websockets.sync.client import connect

    with connect(f"{url.replace('http', 'ws', 1)}/ws", max_size=None) as socket:
        for size in (0, 10, 70_000):
            socket.send("y" * size)
            yield f"text {size}", socket.recv()
        socket.send(b"\x00\x01")
        yield "binary", list(socket.recv())


def value_of(number):
    import numpy

    return numpy.full((1, 4), number, dtype=numpy.float32)


def with_triton_http(url):
    import tritonclient.http as client_module
    from tritonclient.utils import InferenceServerException

    client = client_module.InferenceServerClient(url.removeprefix("http://"))
    yield "ready", client.is_model_ready("sum")
    yield "metadata", client.get_model_metadata("sum")
    for number in range(20):
        binary = number % 2 == 1
        value = client_module.InferInput("x", [1, 4], "FP32")
        value.set_data_from_numpy(value_of(number), binary_data=binary)
        outputs = [client_module.InferRequestedOutput("y", binary_data=binary)]
        # KServe takes a request without a type for one of binary tensors.
        headers = {} if binary else {"Content-Type": "application/json"}
        try:
            answer = client.infer("sum", [value], request_id=str(number), outputs=outputs, headers=headers)
            yield f"infer {number}", [answer.get_response(), answer.as_numpy("y").tolist()]
        except InferenceServerException as error:
            # MLServer reads no binary tensors: what it says to them is an answer as well.
            yield f"infer {number}", [error.status(), error.message()]


def with_triton_grpc(url):
    import tritonclient.grpc as client_module

    client = client_module.InferenceServerClient(url.removeprefix("http://"))
    yield "ready", client.is_model_ready("sum")
    for number in range(20):
        value = client_module.InferInput("x", [1, 4], "FP32")
        value.set_data_from_numpy(value_of(number))
        answer = client.infer("sum", [value], request_id=str(number))
        yield f"infer {number}", answer.as_numpy("y").tolist()


def with_h2(url):
    import httpx

    with httpx.Client(http2=True, verify=False, timeout=20) as client:
        for size in (0, 10, 100_000):
            answer = client.post(f"{url}/echo", content=b"x" * size)
            got = seen(answer.status_code, answer.headers.multi_items(), answer.content)
            yield f"post {size}", {"version": answer.http_version, **got}


KINDS = {
    "http": {"requests": with_requests, "httpx": with_httpx, "aiohttp": with_aiohttp, "curl": with_curl},
    "openai": {"openai": with_openai},
    "websocket": {"websockets": with_websockets},
    "triton-http": {"tritonclient": with_triton_http},
    "triton-grpc": {"tritonclient": with_triton_grpc},
    "h2": {"httpx": with_h2},
}

kind, url = sys.argv[1:]
print(json.dumps({name: list(client(url)) for name, client in KINDS[kind].items()}))
