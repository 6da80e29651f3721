"""Replays requests.jsonl at its planned instants, in an open loop.

One process:  locust -f locustfile.py --headless --host http://staging:8000
Distributed:  locust -f locustfile.py --headless --host http://staging:8000 --master --expect-workers 2
              locust -f locustfile.py --worker --master-host MASTER      (once for each worker)

Every worker needs both files, and a clock synchronized with the master's (NTP). Environment variables:
  REPLAY_SPEED    1.5 replays one and a half times as fast
  REPLAY_HEADERS  a JSON object of headers set on every request, such as {"Authorization": "Bearer ..."}
  REPLAY_LEAD_S   seconds from the start of the test to the first request (3)
  REPLAY_DRAIN_S  seconds to wait for the last answers (30)

In Locust's statistics, the row "dispatch dispatch_lag" is no request. It holds how late each send was, in ms.
"""

import base64
import json
import os
import time

import gevent
from gevent.pool import Group
from locust import LoadTestShape, User, events, task
from locust.contrib.fasthttp import FastHttpSession
from locust.runners import MasterRunner, WorkerRunner

HOST = None
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requests.jsonl")
SPEED = float(os.environ.get("REPLAY_SPEED", "1"))
EXTRA = json.loads(os.environ.get("REPLAY_HEADERS", "{}"))
LEAD_S = float(os.environ.get("REPLAY_LEAD_S", "3"))
DRAIN_S = float(os.environ.get("REPLAY_DRAIN_S", "30"))
# More than any plan needs. With Locust's default of 10, sends would wait for earlier answers.
CONCURRENCY = 10000
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
                yield row["t"] / 1000 / SPEED, row["m"], row["p"], headers_of(row["h"]), body, row["r"]


class Player:
    """Replays one shard."""

    def __init__(self, environment, host):
        self.request = environment.events.request
        self.session = FastHttpSession(
            base_url=host,
            request_event=self.request,
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

    def play(self, epoch, shard, shards):
        start = time.monotonic() + (epoch - time.time())
        open_requests = Group()
        for offset, method, path, headers, body, route in requests_of(shard, shards):
            due = start + offset
            # The sleep ends at an absolute instant, so delays do not add up. A sleep of 0 still lets others run.
            gevent.sleep(max(0.0, due - time.monotonic()))
            open_requests.spawn(self.send, due, method, path, headers, body, route)
        open_requests.join(timeout=DRAIN_S)
        unanswered = len(open_requests)
        open_requests.kill(block=False)
        return {"sent": self.sent, "unanswered": unanswered}

    def send(self, due, method, path, headers, body, route):
        lag_ms = (time.monotonic() - due) * 1000
        self.sent += 1
        self.session.request(method, path, name=route, data=body, headers=headers)
        self.request.fire(
            request_type="dispatch",
            name="dispatch_lag",
            response_time=lag_ms,
            response_length=0,
            response=None,
            context={},
            exception=None,
        )


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
        self.results["local"] = Player(self.environment, host).play(epoch, 0, 1)

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
        sent = sum(result["sent"] for result in self.results.values())
        unanswered = sum(result["unanswered"] for result in self.results.values())
        print("replay: %d requests sent, %d without an answer at the end" % (sent, unanswered))
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
            result = Player(environment, data["host"]).play(data["epoch"], data["shard"], data["shards"])
            runner.send_message("replay_done", result)

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
