"""Replays requests.jsonl at its planned instants, in an open loop.

One process:  locust -f locustfile.py --headless --host http://staging:8000
Distributed:  locust -f locustfile.py --headless --host http://staging:8000 --master --expect-workers 2
              locust -f locustfile.py --worker --master-host MASTER      (once for each worker)

Every worker needs both files, and a clock synchronized with the master's (NTP). Environment variables:
  REPLAY_SPEED    1.5 replays one and a half times as fast
  REPLAY_HEADERS  a JSON object of headers set on every request, such as {"Authorization": "Bearer ..."}
  REPLAY_LEAD_S   seconds from the start of the test to the first request (3)
  REPLAY_DRAIN_S  seconds to wait for the last answers (30)

How late each request was sent is in dispatch_lag.csv in the working directory; a worker writes dispatch_lag.N.csv.
"""

import base64
import csv
import json
import os
import time
import traceback

import gevent
from gevent.pool import Group
from locust import LoadTestShape, User, events, task
from locust.contrib.fasthttp import FastHttpSession
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

HOST = None
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requests.jsonl")
SPEED = float(os.environ.get("REPLAY_SPEED", "1"))
EXTRA = json.loads(os.environ.get("REPLAY_HEADERS", "{}"))
LEAD_S = float(os.environ.get("REPLAY_LEAD_S", "3"))
DRAIN_S = float(os.environ.get("REPLAY_DRAIN_S", "30"))
# More than any plan needs. With Locust's default of 10, sends would wait for earlier answers.
CONCURRENCY = 10000
CSV_WAIT_S = WORKER_REPORT_INTERVAL + 2 * CSV_STATS_INTERVAL_SEC
if not SPEED > 0:
    raise ValueError("REPLAY_SPEED must be above 0")


def headers_of(pairs):
    """Headers as the map that the client expects. Values of the same name are joined."""
    names, headers = {}, {}
    for name, value in pairs:
        first = names.setdefault(name.lower(), name)
        joint = "; " if name.lower() == "cookie" else ", "
        headers[first] = value if first not in headers else headers[first] + joint + value
    for name, value in EXTRA.items():
        headers[names.get(name.lower(), name)] = value
    return headers


def requests_of(shard, shards):
    """The requests of one shard in order, read on demand."""
    with open(DATA, encoding="utf-8") as lines:
        for index, line in enumerate(lines):
            if index % shards == shard:
                row = json.loads(line)
                body = None if row["b"] is None else base64.b64decode(row["b"])
                # Locust prints the method before the name.
                name = (row["r"] + " ").removeprefix(row["m"] + " ").rstrip() or "(no route)"
                yield row["t"] / 1000 / SPEED, row["m"], row["p"], headers_of(row["h"]), body, name


class Player:
    """Replays one shard."""

    def __init__(self, environment, host):
        self.session = FastHttpSession(
            base_url=host,
            request_event=environment.events.request,
            user=None,
            concurrency=CONCURRENCY,
            max_retries=0,
            connection_timeout=60.0,
            network_timeout=300.0,
        )
        # Only planned requests are sent: no redirect is followed, and no cookie is kept between requests.
        self.session.client.redirect_response_codes = frozenset()
        self.session.client.cookiejar = None
        self.sent = 0
        self.latest_ms = 0.0
        self.lags = None

    def play(self, epoch, shard, shards):
        """Shard None is all of the plan, in one process."""
        file = "dispatch_lag.csv" if shard is None else "dispatch_lag.%d.csv" % shard
        # Requests of their own in Locust's statistics would be counted in its totals.
        with open(file, "w", encoding="utf-8", newline="") as lags:
            self.lags = csv.writer(lags)
            self.lags.writerow(["due_s", "lag_ms", "method", "name"])
            return self.replay(epoch, shard or 0, shards)

    def replay(self, epoch, shard, shards):
        start = time.monotonic() + (epoch - time.time())
        open_requests = Group()
        for offset, method, path, headers, body, name in requests_of(shard, shards):
            due = start + offset
            # The sleep ends at an absolute instant, so delays do not add up. A sleep of 0 still lets others run.
            gevent.sleep(max(0.0, due - time.monotonic()))
            open_requests.spawn(self.send, start, offset, method, path, headers, body, name)
        open_requests.join(timeout=DRAIN_S)
        unanswered = len(open_requests)
        open_requests.kill(block=False)
        return {"sent": self.sent, "unanswered": unanswered, "latest_ms": self.latest_ms}

    def send(self, start, offset, method, path, headers, body, name):
        lag_ms = (time.monotonic() - start - offset) * 1000
        self.sent += 1
        self.latest_ms = max(self.latest_ms, lag_ms)
        self.lags.writerow(["%.6f" % offset, "%.3f" % lag_ms, method, name])
        self.session.request(method, path, name=name, data=body, headers=headers)


class Idle(User):
    """Does nothing: Locust needs a user, but the player sends the requests."""

    host = HOST

    @task
    def idle(self):
        gevent.sleep(3600)


class Conductor:
    """Starts all shards at the same instant and detects when all are done."""

    def __init__(self):
        self.environment = None
        self.shards = None
        self.results = {}
        self.lost = set()
        self.greenlet = None
        self.ended = None

    def begin(self, runner):
        host = self.environment.host or HOST
        if not host:
            raise SystemExit("give the target with --host")
        epoch = time.time() + LEAD_S
        if not isinstance(runner, MasterRunner):
            self.shards = {"local": 0}
            self.greenlet = gevent.spawn(self.play_here, epoch, host)
            return
        self.shards = {client_id: shard for shard, client_id in enumerate(list(runner.clients.keys()))}
        for client_id, shard in self.shards.items():
            data = {"epoch": epoch, "shard": shard, "shards": len(self.shards), "host": host}
            runner.send_message("replay_start", data, client_id=client_id)

    def play_here(self, epoch, host):
        self.results["local"] = Player(self.environment, host).play(epoch, None, 1)

    def tick(self, runner):
        if self.shards is None:
            self.begin(runner)
        for client_id in self.shards:
            gone = isinstance(runner, MasterRunner) and (
                client_id not in runner.clients or runner.clients[client_id].state in ("missing", "quit")
            )
            failed = self.greenlet is not None and self.greenlet.dead and client_id not in self.results
            if (gone or failed) and client_id not in self.results and client_id not in self.lost:
                self.lost.add(client_id)
                print("replay: shard %d was lost; its requests were not all sent" % self.shards[client_id])
                self.environment.process_exit_code = 2
        if len(self.results) + len(self.lost) < len(self.shards):
            return len(self.shards), len(self.shards)
        if self.ended is None:
            self.ended = time.monotonic()
        # Locust writes its CSV files at intervals, and not when it ends.
        if self.environment.parsed_options.csv_prefix and time.monotonic() < self.ended + CSV_WAIT_S:
            return len(self.shards), len(self.shards)
        sent = sum(result["sent"] for result in self.results.values())
        unanswered = sum(result["unanswered"] for result in self.results.values())
        latest_ms = max((result["latest_ms"] for result in self.results.values()), default=0.0)
        print(
            "replay: %d requests sent, %d without an answer at the end, the latest %.1f ms late"
            % (sent, unanswered, latest_ms)
        )
        return None


conductor = Conductor()


class Replay(LoadTestShape):
    def tick(self):
        return conductor.tick(self.runner)


@events.init.add_listener
def on_init(environment, **_):
    conductor.environment = environment
    runner = environment.runner
    playing = []

    def start(msg, **_):
        def play():
            data = msg.data
            try:
                result = Player(environment, data["host"]).play(data["epoch"], data["shard"], data["shards"])
                runner.send_message("replay_done", result)
            except Exception:
                traceback.print_exc()
                # Otherwise the master would wait for this shard.
                runner.quit()

        playing.append(gevent.spawn(play))

    def done(msg, **_):
        conductor.results[msg.node_id] = msg.data

    if isinstance(runner, WorkerRunner):
        runner.register_message("replay_start", start)
    elif isinstance(runner, MasterRunner):
        runner.register_message("replay_done", done)

    @environment.events.test_stop.add_listener
    def on_stop(**_):
        for greenlet in playing + [conductor.greenlet]:
            if greenlet is not None:
                greenlet.kill(block=False)
