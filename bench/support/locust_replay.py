"""Plays a plan with Locust's fastest client: each request at its instant, in a greenlet of its own.

The environment names the plan (JSON: microseconds after the start), the body and the file to which the start is
written (monotonic nanoseconds, the clock all processes of a host share).
"""

import json
import os
import time

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

with open(os.environ["BENCH_PLAN"]) as file:
    OFFSETS_US = json.load(file)
with open(os.environ["BENCH_BODY"], "rb") as file:
    BODY = file.read()

# gevent's timers count milliseconds: the rest of the way the dispatcher yields and looks again.
AWAKE_NS = 1_500_000
RUN_UP_NS = 500_000_000


class Dispatcher(FastHttpUser):
    fixed_count = 1
    concurrency = 256

    @task
    def play(self):
        pool = Pool(1000)
        start_ns = time.monotonic_ns() + RUN_UP_NS
        with open(os.environ["BENCH_START"], "w") as file:
            file.write(str(start_ns))
        for index, offset_us in enumerate(OFFSETS_US):
            due_ns = start_ns + offset_us * 1000
            while (wait_ns := due_ns - time.monotonic_ns()) > 0:
                gevent.sleep((wait_ns - AWAKE_NS) / 1e9 if wait_ns > AWAKE_NS else 0)
            pool.spawn(self.send, index)
        pool.join(timeout=10)
        self.environment.runner.quit()

    def send(self, index):
        self.client.post(f"/{index}", data=BODY, name="/", headers={"Content-Type": "application/json"})
