"""Replays requests.jsonl at its planned instants, in an open loop.

One process:  locust -f locustfile.py --headless --host http://staging:8000
Distributed:  locust -f locustfile.py --headless --host http://staging:8000 --master --expect-workers 2
              locust -f locustfile.py --worker --master-host MASTER      (once for each worker)

Every worker needs both files, and a clock synchronized with the master's (NTP). Environment variables:
  REPLAY_SPEED    1.5 replays one and a half times as fast
  REPLAY_HEADERS  a JSON object of headers set on every request, such as {"Authorization": "Bearer ..."}
  REPLAY_LEAD_S   seconds from the start of the test to the first request (3)
  REPLAY_DRAIN_S  seconds to wait for the last answers (30)

Values that the server issued (ids, tokens, cookies) are taken from the answers of this run. A request waits until the
answers with its values are complete.

How late each request was sent is in dispatch_lag.csv in the working directory; a worker writes dispatch_lag.N.csv.
"""

import base64
import csv
import json
import os
import re
import time
import traceback
from urllib.parse import quote, unquote, urlsplit

import gevent
from gevent.event import Event
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
            row = json.loads(line)
            live = row.get("l")
            # A session stays with one worker, because only that one has its answers.
            if (live["s"] if live else index) % shards == shard:
                body = None if row["b"] is None else base64.b64decode(row["b"])
                # Locust prints the method before the name.
                name = (row["r"] + " ").removeprefix(row["m"] + " ").rstrip() or "(no route)"
                yield row["t"] / 1000 / SPEED, row["m"], row["p"], headers_of(row["h"]), body, name, row["i"], live


def at_pointer(document, pointer):
    """The text at a JSON pointer; None if there is none."""
    for step in pointer.split("/")[1:]:
        if isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            return None
    return document if isinstance(document, str) and document else None


def parsed(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def events_of(text):
    """Name and document of each event, or of each line of JSON."""
    if not re.search(r"^(?:data|event):", text, re.M):
        return [("", parsed(line)) for line in text.splitlines()]
    fields = [re.findall(r"^(data|event): ?(.*)$", block, re.M) for block in re.split(r"\r?\n\r?\n", text)]
    return [
        (
            "".join(value for key, value in block if key == "event"),
            parsed("\n".join(value for key, value in block if key == "data")),
        )
        for block in fields
    ]


def cookies_of(headers):
    pairs = (line.split(";", 1)[0].partition("=") for line in headers.get_all("set-cookie", []))
    return {name.strip(): value.strip() for name, _, value in pairs}


def issued_value(place, headers, text):
    """The value at a place of an answer; None if it has none."""
    kind = place["in"]
    if kind == "header":
        return headers.get(place["name"])
    if kind == "cookie":
        return cookies_of(headers).get(place["name"])
    if kind == "path":
        segments = urlsplit(headers.get("location") or "").path.split("/")[1:]
        return unquote(segments[place["segment"]]) if place["segment"] < len(segments) else None
    if kind == "json":
        return at_pointer(parsed(text), place["pointer"])
    found = [at_pointer(event, place["pointer"]) for name, event in events_of(text) if name == place["event"]]
    different = list(dict.fromkeys(value for value in found if value and len(value) >= 8))
    return different[place["nth"]] if place["nth"] < len(different) else None


def with_header(headers, name, value):
    known = next((each for each in headers if each.lower() == name), name)
    return {**headers, known: value}


def with_cookie(headers, name, value):
    recorded = next((each for key, each in headers.items() if key.lower() == "cookie"), "")
    pairs = dict(pair.partition("=")[::2] for pair in re.split(r"; *", recorded) if pair)
    text = "; ".join("%s=%s" % pair for pair in {**pairs, name: value}.items())
    return with_header(headers, "cookie", text)


def with_value(place, value, path, headers, body):
    """The request with a live value; None if the value cannot be there."""
    kind, name = place["in"], place.get("name")
    if kind != "json" and (len(value) > 4096 or not value.isprintable()):
        return None
    if kind == "header":
        return path, with_header(headers, name, value), body
    if kind == "cookie":
        return None if re.search(r"[;,\s]", value) else (path, with_cookie(headers, name, value), body)
    if kind == "path":
        target, question, query = path.partition("?")
        segments = target.split("/")
        if place["segment"] + 1 >= len(segments) or value in (".", ".."):
            return None
        segments[place["segment"] + 1] = quote(value, safe="-._~!$'()*,;:@")
        return "/".join(segments) + question + query, headers, body
    if kind == "query":
        target, _, query = path.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&")]
        live = quote(value, safe="")
        texts = [key + equals + (live if unquote(key) == name else old) for key, equals, old in pairs]
        return target + "?" + "&".join(texts), headers, body
    if kind == "form":
        head = rb'(;[ \t]*name="' + re.escape(name.encode()) + rb'"(?:(?!\r\n\r\n).)*\r\n\r\n)'
        part = re.compile(head + rb"(.*?)(?=\r\n--)", re.S)
        return path, headers, part.sub(lambda found: found[1] + value.encode(), body or b"", count=1)
    holder, _, last = place["pointer"].rpartition("/")
    document = parsed(body or b"")
    parent = document
    for step in holder.split("/")[1:]:
        parent = parent[int(step)] if isinstance(parent, list) else (parent or {}).get(step)
    if not isinstance(parent, (dict, list)):
        return None
    parent[int(last) if isinstance(parent, list) else last] = value
    return path, headers, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class Answers:
    """The values that answers of this run have issued, until the requests that need them are sent."""

    def __init__(self):
        self.issuers = {}
        self.sessions = {}
        self.waited = self.diverged = 0

    def expect(self, index, live):
        if live["v"]:
            self.issuers[index] = {"done": Event(), "values": [], "users": live["u"]}

    def resolve(self, live, path, headers, body):
        """Waits for the values that a request needs. Where an answer has none, the recorded one is sent."""
        request = path, headers, body
        needed = {index: self.issuers.get(index) for index in {take["from"] for take in live["t"]}}
        if any(issuer and not issuer["done"].is_set() for issuer in needed.values()):
            self.waited += 1
        for issuer in needed.values():
            if issuer:
                issuer["done"].wait()
        for name, value in self.sessions.get(live["s"], {}).items():
            place = {"in": "cookie", "name": name[1]} if name[0] == "cookie" else {"in": "header", "name": name[1]}
            if (name[0] if name[0] == "cookie" else name[1]) in live["e"]:
                request = with_value(place, value, *request) or request
        lacks = False
        for take in live["t"]:
            issuer = needed[take["from"]]
            value = issuer["values"][take["at"]] if issuer and issuer["values"] else None
            changed = None if value is None else with_value(take["to"], value, *request)
            lacks = lacks or changed is None
            request = changed or request
        self.diverged += lacks
        for index, issuer in needed.items():
            if issuer:
                issuer["users"] -= 1
                if issuer["users"] <= 0:
                    self.issuers.pop(index, None)
        return request

    def take(self, index, live, response):
        headers = response.headers
        if headers is not None:
            kept = self.sessions.setdefault(live["s"], {})
            kept.update({("cookie", name): value for name, value in cookies_of(headers).items()})
            kept.update({("header", name): headers[name] for name in live["e"] if headers.get(name)})
            if headers.get("x-session-token"):
                kept[("header", "x-session-token")] = headers["x-session-token"]
        issuer = self.issuers.get(index)
        if issuer:
            text = (response.text or "") if headers is not None else ""
            issuer["values"] = [None if headers is None else issued_value(place, headers, text) for place in live["v"]]
            issuer["done"].set()


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
        self.answers = Answers()

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
        for offset, method, path, headers, body, name, index, live in requests_of(shard, shards):
            due = start + offset
            # The sleep ends at an absolute instant, so delays do not add up. A sleep of 0 still lets others run.
            gevent.sleep(max(0.0, due - time.monotonic()))
            if live:
                self.answers.expect(index, live)
            open_requests.spawn(self.send, start, offset, method, path, headers, body, name, index, live)
        open_requests.join(timeout=DRAIN_S)
        unanswered = len(open_requests)
        open_requests.kill(block=False)
        waits = {"waited": self.answers.waited, "diverged": self.answers.diverged}
        return {"sent": self.sent, "unanswered": unanswered, "latest_ms": self.latest_ms, **waits}

    def send(self, start, offset, method, path, headers, body, name, index, live):
        lag_ms = (time.monotonic() - start - offset) * 1000
        self.sent += 1
        self.latest_ms = max(self.latest_ms, lag_ms)
        self.lags.writerow(["%.6f" % offset, "%.3f" % lag_ms, method, name])
        if live:
            path, headers, body = self.answers.resolve(live, path, headers, body)
        response = self.session.request(method, path, name=name, data=body, headers=headers)
        if live:
            self.answers.take(index, live, response)


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
        waited, diverged = (sum(result[key] for result in self.results.values()) for key in ("waited", "diverged"))
        if waited + diverged > 0:
            print("replay: %d waited for values of answers, %d lacked one" % (waited, diverged))
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
