"""Triton's own server on a CPU, and its client.

`triton_models.py serve HTTP_PORT GRPC_PORT METRICS_PORT` prints `ready` when it serves two models: `double` doubles
numbers, and `words`, which is decoupled, answers a text with a message for each of its words.
`triton_models.py call GRPC_PORT` calls them and prints what it got.
"""

import json
import queue
import signal
import sys
import threading
import time


def serve(http, grpc, metrics):
    from pytriton.decorators import batch
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    @batch
    def double(numbers):
        return {"doubled": numbers * 2}

    def words(requests):
        [request] = requests
        for word in request["text"][0, 0].split():
            yield [{"word": numpy.array([[word]])}]

    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    local = {"http_address": "127.0.0.1", "grpc_address": "127.0.0.1"}
    with Triton(config=TritonConfig(**ports, **local)) as triton:
        triton.bind(
            model_name="double",
            infer_func=double,
            inputs=[Tensor(name="numbers", dtype=numpy.float32, shape=(-1,))],
            outputs=[Tensor(name="doubled", dtype=numpy.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=8),
        )
        triton.bind(
            model_name="words",
            infer_func=words,
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="word", dtype=bytes, shape=(1,))],
            config=ModelConfig(decoupled=True, batching=True, max_batch_size=1),
        )
        triton.run()
        print("ready", flush=True)
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait()


def call(port):
    from tritonclient.grpc import InferenceServerClient, InferInput

    def tensor(name, kind, value):
        given = InferInput(name, list(value.shape), kind)
        given.set_data_from_numpy(value)
        return given

    client, got = InferenceServerClient(f"127.0.0.1:{port}"), []
    for at in range(20):
        numbers = numpy.array([[at, 1.5, 2]], dtype=numpy.float32)
        compression = "gzip" if at % 5 == 0 else None
        answer = client.infer(
            "double", [tensor("numbers", "FP32", numbers)], request_id=f"call-{at}", compression_algorithm=compression
        )
        got.append(answer.as_numpy("doubled").tolist())
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for at in range(3):
        text = tensor("text", "BYTES", numpy.array([[b"secret words are sent %d" % at]], dtype=object))
        client.async_stream_infer("words", [text], request_id=f"stream-{at}")
        for _ in range(5):
            result, error = answers.get(timeout=30)
            got.append(str(error) if error else result.as_numpy("word")[0, 0].decode())
        # A replay waits for no answer, and answers to two texts at once come in any order.
        time.sleep(0.3)
    client.stop_stream()
    print(json.dumps(got))


if __name__ == "__main__":
    import numpy

    serve(*map(int, sys.argv[2:])) if sys.argv[1] == "serve" else call(int(sys.argv[2]))
