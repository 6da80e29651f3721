"""The profile document of a dataset that `reprise export parquet --partition` wrote.

An engine runs the queries: spark_profile.py a cluster, duckdb_profile.py one machine. Both speak this SQL. Queries
return counts of values in bins and sums, which add up over any parts of the data. Python makes the document of them,
with the formulas of `reprise profile`. Instants are epoch microseconds, and durations are microseconds.
"""

import datetime
import itertools
import json
import math
import pathlib
import re
import sys
import zoneinfo

from traffic_cycle import SLOT_US, cycle_parts

HOUR_US = 3_600_000_000
UNNAMED = "CAST(NULL AS STRING)"
SIZE = "CAST(CASE WHEN req_bytes = 0 THEN 0 ELSE length(bin(req_bytes)) END AS STRING)"
RETRY_WINDOW_S = 60
MOST_NAMES = 100
MOST_TEXTS = 64
OUTCOMES = ("completed", "client_aborted", "upstream_failed", "timed_out")
IDC_WINDOWS = ("0.1", "1", "10", "60", "600")
PEAK_WINDOWS_S = (1, 60, 600, 3_600)
LEAST_IDC_WINDOWS = 20
STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 14_400, 43_200, 86_400, 604_800, 31_449_600)
MOST_STEPS = 4_096
STATEMENT = (
    "This profile holds counts, times, sizes and names of routes and models. "
    "It holds no payload, no header and no secret."
)

# Only recorded exchanges: a copy of a scaled plan is none. greatest() ignores null, so CASE keeps it.
EXCHANGES = """
SELECT *, ended AND failed AS known_failed FROM (
  SELECT id, recorder, {arrival} AS arrival, method, route, model, protocol, status, outcome, stream,
    {last_byte} AS last_us, {first_byte} AS first_byte_us, {first_token} AS first_token_us,
    req_bytes, resp_bytes, input_tokens, output_tokens, batch, body_hash, session, client, answer_error,
    coalesce(outcome, 'completed') <> 'completed' OR coalesce(status, 0) >= 500 AS broken,
    coalesce(outcome, 'completed') IN ('upstream_failed', 'timed_out') OR coalesce(status, 0) >= 500 AS failed,
    coalesce(outcome, 'completed') IN ('upstream_failed', 'timed_out') OR status IS NOT NULL AS ended,
    body_hash IS NOT NULL OR (not_sendable IS NULL AND coalesce(req_bytes, 1) = 0) AS body_known
  FROM {table} WHERE copy = 0
) AS facts
"""


def exchanges_sql(table, micros):
    """The view that all queries read. `micros` turns a timestamp column into epoch microseconds."""
    offset = "CASE WHEN {0} < 0 THEN 0 ELSE CAST(round({0} * 1000) AS BIGINT) END".format
    return EXCHANGES.format(
        table=table,
        arrival=micros("arrival_us"),
        last_byte=offset("latency_ms"),
        first_byte=offset("ttfb_ms"),
        first_token=offset("ttft_ms"),
    )


def bin_sql(value):
    """The lowest value of the bin: the first 11 binary digits of a value, and zeros."""
    shift = f"greatest(0, length(bin({value})) - 11)"
    return f"(({value} >> {shift}) << {shift})"


def case_sql(values):
    return f"CASE k {' '.join(f'WHEN {at} THEN {value}' for at, value in enumerate(values))} END"


def each_sql(table, parts):
    """Every row once for each part, with its number `k`: one pass in place of one for each part."""
    numbers = ", ".join(f"({at})" for at in range(len(parts)))
    return f"{table} CROSS JOIN (VALUES {numbers}) AS numbers(k)"


class Histogram:
    """Counts by bin, as the histogram of `reprise`: a percentile is at most 1/1024 above the true value."""

    def __init__(self):
        self.bins = {}
        self.count = self.sum = 0
        self.min = self.max = None

    def add(self, lowest, count, total, least, greatest):
        self.bins[lowest] = self.bins.get(lowest, 0) + count
        self.count += count
        self.sum += total
        self.min = least if self.min is None else min(self.min, least)
        self.max = greatest if self.max is None else max(self.max, greatest)

    def record(self, value):
        shift = max(0, value.bit_length() - 11)
        self.add(value >> shift << shift, 1, value, value, value)

    @property
    def mean(self):
        return self.sum / self.count if self.count else None

    def ordered(self):
        for lowest, count in sorted(self.bins.items()):
            yield lowest + (1 << max(0, lowest.bit_length() - 11)) - 1, count

    def percentile(self, percent):
        """Nearest rank."""
        if self.count == 0:
            return None
        rank = math.ceil(percent * self.count / 100 - 1e-9 * max(1, self.count / 1e6))
        seen = 0
        for highest, count in self.ordered():
            seen += count
            if seen >= min(self.count, max(1, rank)):
                return max(self.min, min(self.max, highest))
        return self.max

    def distribution(self, unit=1):
        def scaled(value):
            return None if value is None else value * unit

        percentiles = {f"p{percent}": scaled(self.percentile(percent)) for percent in (50, 90, 95, 99)}
        return {"count": self.count, "mean": scaled(self.mean), **percentiles, "max": scaled(self.max)}

    def shape(self, unit=1):
        """Cumulative shares, two steps to each doubling."""
        steps = []

        def push(up_to, share):
            if not steps or steps[-1]["share"] != share:
                steps.append({"upTo": up_to, "share": share})

        seen = edge = 0
        for highest, count in self.ordered():
            while highest > edge:
                if seen > 0:
                    push(edge * unit, seen / self.count)
                edge = next_edge(edge, highest)
            seen += count
        if self.count:
            push(self.max * unit, 1)
        return steps

    def shaped(self, unit=1):
        return {**self.distribution(unit), "shape": self.shape(unit)}


def next_edge(edge, value):
    after = 1 if edge == 0 else 2 ** ((math.floor(math.log2(edge) * 2 + 0.5) + 1) / 2)
    return max(after, 2 ** (math.floor(math.log2(max(1, value)) * 2) / 2))


class Figures:
    """Runs the queries. `query` takes SQL and returns rows; `last_known` is the last value that is not null."""

    def __init__(self, query, last_known):
        self.query = query
        self.last_known = last_known
        self.hours = sorted(
            query(f"SELECT arrival - arrival % {HOUR_US}, {', '.join(TOTALS.values())} FROM exchanges GROUP BY 1")
        )
        if not self.hours:
            sys.exit("The dataset holds no exchanges. Give the directory that export parquet --partition wrote.")
        _, *columns = zip(*self.hours, strict=True)
        self.totals = {name: sum(filter(None, column)) for name, column in zip(TOTALS, columns, strict=True)}
        self.requests, self.first, self.last = self.totals["requests"], self.hours[0][2], self.hours[-1][3]
        self.step_us = self.step_s() * 1_000_000

    def step_s(self):
        span_us = self.last + 1 - self.first
        return next((s for s in STEPS_S if -(-span_us // (s * 1_000_000)) <= MOST_STEPS), STEPS_S[-1])

    def histograms(self, table, measures):
        """`measures` are metric, name and value: one pass counts them all. @returns histograms by metric and name"""
        found = {}
        metrics, names, values = zip(*measures, strict=True)
        rows = self.query(
            f"SELECT k, name, {bin_sql('least(v, 140737488355328)')} AS lowest, count(*), sum(v), min(v), max(v) "
            f"FROM (SELECT k, {case_sql(names)} AS name, {case_sql(values)} AS v FROM {each_sql(table, measures)}) "
            "AS measured WHERE v IS NOT NULL GROUP BY 1, 2, 3"
        )
        for k, name, *counts in rows:
            found.setdefault((metrics[k], name), Histogram()).add(*map(int, counts))
        return found

    def values(self):
        latency = "CASE WHEN NOT broken THEN last_us END"
        measures = {
            "request": "CASE WHEN protocol IS NOT NULL THEN req_bytes END",
            "response": "CASE WHEN protocol IS NOT NULL THEN resp_bytes END",
            "latency": latency,
            "first_byte": "CASE WHEN NOT broken THEN first_byte_us END",
            "first_token": "CASE WHEN NOT broken THEN first_token_us END",
            "prompt": "CASE WHEN input_tokens < 0 THEN 0 ELSE input_tokens END",
            "output": "CASE WHEN output_tokens < 0 THEN 0 ELSE output_tokens END",
            "batch": "CASE WHEN batch < 0 THEN 0 ELSE batch END",
        }
        return self.histograms(
            "exchanges",
            [
                *((metric, UNNAMED, value) for metric, value in measures.items()),
                *((part, part, latency) for part in ("route", "model")),
                ("size", SIZE, "CASE WHEN NOT broken AND protocol IS NOT NULL THEN last_us END"),
            ],
        )

    def groups(self):
        """Figures of each name, by part."""
        parts = {part: part for part in ("route", "model", "method", "protocol", "outcome")}
        parts |= {"status": "CAST(status AS STRING)", "size": SIZE}
        of_size = list(parts).index("size")
        rows = self.query(
            "SELECT k, name, count(*), min(arrival), count_if(ended), count_if(known_failed), sum(req_bytes), "
            f"count(req_bytes), sum(resp_bytes), count(resp_bytes) FROM (SELECT *, {case_sql(parts.values())} AS name "
            f"FROM {each_sql('exchanges', parts)}) AS named "
            f"WHERE k <> {of_size} OR (protocol IS NOT NULL AND req_bytes IS NOT NULL) GROUP BY 1, 2"
        )
        found = {part: [] for part in parts}
        for k, *figures in rows:
            found[list(parts)[k]].append(figures)
        return found

    def gaps(self):
        """Gaps within hours, which machines count apart, and those from one hour to the next."""
        mean = (self.last - self.first) / max(1, self.requests - 1)
        rows = self.query(
            f"SELECT {bin_sql('v')} AS lowest, count(*), sum(v), min(v), max(v), sum(power(v - {mean!r}, 2)), "
            "count_if(v = 0) FROM (SELECT arrival - lag(arrival) OVER "
            f"(PARTITION BY arrival - arrival % {HOUR_US} ORDER BY arrival) AS v FROM exchanges) AS gaps "
            "WHERE v IS NOT NULL GROUP BY 1"
        )
        gaps, squares, ties = Histogram(), 0.0, 0
        for *counts, square, tied in rows:
            gaps.add(*map(int, counts))
            squares += square
            ties += tied
        for (_, _, _, before, *_), (_, _, after, *_) in itertools.pairwise(self.hours):
            gaps.record(after - before)
            squares += (after - before - mean) ** 2
        return gaps, squares, ties

    def windows(self, widths_us):
        """By width: how many whole windows hold how many arrivals, and when the first of them began."""
        span = self.last - self.first
        arrivals = f"(SELECT arrival - {self.first} AS since, 1 AS c FROM exchanges) AS arrivals"
        tables, counts = [], []
        # Each width is a multiple of the one before, so that its windows are sums of those.
        for at, width in enumerate(widths_us):
            before = f"w{at - 1}" if at else arrivals
            tables.append(f"w{at} AS (SELECT since - since % {width} AS since, sum(c) AS c FROM {before} GROUP BY 1)")
            # No WHERE, which engines would push into each branch: all of them share the tables.
            is_whole = f"since < {span - span % width}"
            counts.append(f"SELECT {at}, {is_whole}, c, count(*), min(since) FROM w{at} GROUP BY {is_whole}, c")
        found = {width: [] for width in widths_us}
        for at, is_whole, *row in self.query(f"WITH {', '.join(tables)} {' UNION ALL '.join(counts)}"):
            if is_whole:
                found[widths_us[at]].append(tuple(map(int, row)))
        return found

    def steps(self):
        """Figures by step of the series, and arrivals by quarter of an hour."""
        since = f"arrival - {self.first % 1_000_000}"
        rows = self.query(
            "SELECT step, sum(c), sum(failed), max(c), sum(known), sum(latency) FROM ("
            f"SELECT *, second - second % {self.step_us} AS step FROM ("
            f"SELECT {since} - ({since}) % 1000000 AS second, count(*) AS c, count_if(failed) AS failed, "
            "count(CASE WHEN NOT broken THEN last_us END) AS known, "
            "sum(CASE WHEN NOT broken THEN last_us END) AS latency FROM exchanges GROUP BY 1) AS seconds) AS placed "
            "GROUP BY step"
        )
        steps = {int(step): [int(each or 0) for each in figures] for step, *figures in rows}
        return steps, self.query(f"SELECT arrival - arrival % {SLOT_US}, count(*) FROM exchanges GROUP BY 1")

    def concurrency(self):
        """Most in flight by step, and what arrivals found. Machines sum up hours apart, from what was open before."""
        if self.totals["timed"] == 0:
            return {}, Histogram(), 0
        shift = self.first % 1_000_000
        # An end comes before an arrival of the same instant, but for that of an exchange which took no time.
        rows = self.query(
            f"""WITH events AS (
              SELECT arrival AS instant, CASE WHEN last_us IS NULL THEN 0 ELSE 1 END AS change, 1 AS phase, id,
                0 AS part FROM exchanges
              UNION ALL SELECT arrival + last_us, -1, CASE WHEN last_us = 0 THEN 1 ELSE 0 END, id, 1 FROM exchanges
                WHERE last_us IS NOT NULL
            ), hourly AS (SELECT *, instant - instant % {HOUR_US} AS hour FROM events),
            hours AS (SELECT hour, sum(change) AS change FROM hourly GROUP BY hour),
            before AS (SELECT hour, coalesce(sum(change) OVER (ORDER BY hour
              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS open FROM hours),
            flying AS (SELECT hour, instant, change, part, sum(change) OVER (PARTITION BY hour
              ORDER BY instant, phase, id, part ROWS UNBOUNDED PRECEDING) AS more FROM hourly),
            found AS (SELECT instant - {shift} - (instant - {shift}) % {self.step_us} AS step, change,
              more + open AS level, more + open AS reached FROM flying JOIN before USING (hour) WHERE part = 0)
            SELECT step, level, change, count(*), max(reached) FROM found
            GROUP BY GROUPING SETS ((step), (level, change))"""
        )
        by_step, at_arrival = {}, Histogram()
        for step, level, change, count, most in rows:
            if step is not None:
                by_step[int(step)] = int(most) or None
            elif change == 1:
                level = int(level)
                shift = max(0, level.bit_length() - 11)
                at_arrival.add(level >> shift << shift, count, level * count, level, level)
        [(busy,)] = self.query(
            f"SELECT sum(least(arrival + last_us, {self.last}) - arrival) FROM exchanges WHERE last_us IS NOT NULL"
        )
        return by_step, at_arrival, int(busy)

    def parties(self, column):
        each = (
            f"(SELECT {column} AS id, count(*) AS n, min(arrival) AS since, max(arrival) AS until FROM exchanges "
            f"WHERE {column} IS NOT NULL GROUP BY {column}) AS parties"
        )
        span = "CASE WHEN n > 1 THEN until - since END"
        found = self.histograms(each, [("requests", UNNAMED, "n"), ("span", UNNAMED, span)])
        top = self.query(f"SELECT id, n FROM {each} ORDER BY n DESC, since, id LIMIT 100")
        requests = found.get(("requests", None), Histogram())

        def share(first):
            return sum(n for _, n in top[:first]) / requests.sum if requests.sum else None

        return {
            "count": requests.count,
            "exact": True,
            "requests": requests.sum,
            "undercount": 0,
            "topShares": {"top1": share(1), "top10": share(10), "top100": share(100)},
            "requestsEach": requests.distribution(),
            "spanS": found.get(("span", None), Histogram()).distribution(1e-6),
            "top": [{"id": id, "requests": n, "share": n / requests.sum} for id, n in top[:10]],
        }

    def bodies(self):
        [(known, distinct)] = self.query(
            "SELECT sum(n), count(*) FROM (SELECT coalesce(route, ''), coalesce(body_hash, ''), count(*) AS n "
            "FROM exchanges WHERE body_known GROUP BY 1, 2) AS bodies"
        )
        return int(known or 0), distinct

    def retries(self):
        """Exchanges with the route and body of one that had failed up to a minute before: the first one after it."""
        key = "PARTITION BY route, hash ORDER BY arrival, id"
        [(likely, watched)] = self.query(
            f"""WITH known AS (SELECT coalesce(route, '') AS route, coalesce(body_hash, '') AS hash, arrival, id,
              CASE WHEN broken OR status = 429 THEN arrival + coalesce(last_us, 0) END AS failed_at
              FROM exchanges WHERE body_known),
            again AS (SELECT * FROM known WHERE (route, hash) IN
              (SELECT route, hash FROM known WHERE failed_at IS NOT NULL)),
            seen AS (SELECT arrival, failed_at, {self.last_known("failed_at")} OVER ({key}
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS pending,
              lag(arrival) OVER ({key}) AS before, lag(failed_at) OVER ({key}) AS before_failed FROM again)
            SELECT coalesce(count_if(arrival >= pending AND arrival - pending <= {RETRY_WINDOW_S}000000
              AND (before_failed IS NOT NULL OR before < pending)), 0), count(failed_at) FROM seen"""
        )
        return likely, watched


TOTALS = {
    "requests": "count(*)",
    "first": "min(arrival)",
    "last": "max(arrival)",
    "ended": "count_if(ended)",
    "failed": "count_if(failed)",
    "server_errors": "count_if(status >= 500)",
    "client_errors": "count_if(status >= 400 AND status < 500)",
    "too_many": "count_if(status = 429)",
    "stream_known": "count_if(protocol IS NOT NULL AND stream IS NOT NULL)",
    "streamed": "count_if(protocol IS NOT NULL AND stream)",
    "answers": "count_if(protocol IS NOT NULL AND answer_error IS NOT NULL)",
    "answer_errors": "count_if(protocol IS NOT NULL AND answer_error)",
    "timed": "count(last_us)",
}


def profile(query, last_known, dataset, accounts, zone):
    """The document of `reprise profile --json`. @param accounts what the exports said of the recordings"""
    figures = Figures(query, last_known)
    totals, requests = figures.totals, figures.requests
    histograms, names = figures.values(), figures.groups()
    steps, slots = figures.steps()
    by_step, at_arrival, busy = figures.concurrency()
    known, distinct = figures.bodies()
    likely, watched = figures.retries() if known else (0, 0)
    notes = []

    def of(metric):
        return histograms.get((metric, None), Histogram())

    groups = group_parts(names, histograms, requests, notes)
    counters = counter_parts(names, requests, notes)
    outcomes = {row["outcome"]: row["requests"] for row in counters.pop("outcomes")}
    # A client that left is no failure, but how its exchange ended is known.
    is_ended = totals["ended"] + outcomes.get("client_aborted", 0) > 0

    def where_ended(count):
        return count if is_ended else None

    if totals["timed"] == 0:
        notes.append("no end of an exchange was recorded: latency and concurrency are not known")
    likely = where_ended(likely) if known else None
    span_us = figures.last - figures.first
    document = {
        "schemaVersion": 1,
        "kind": "profile",
        "privacy": {"holdsPayloads": False, "holdsSecrets": False, "shared": False, "statement": STATEMENT},
        "capture": dataset,
        **account_parts(accounts, notes),
        "unfilteredRequests": requests,
        "payloads": None,
        "window": window_part(figures, zone.key),
        "requests": requests,
        **arrival_parts(figures, steps, by_step, is_ended),
        **cycle_parts(slots, figures.first, figures.last, zone),
        "mix": {
            **{name: groups[name] for name in ("routes", "models")},
            **counters,
            "outcomes": {name: where_ended(outcomes.get(name, 0)) for name in OUTCOMES},
            "streamed": totals["streamed"] if totals["stream_known"] else None,
        },
        "duplicateRatio": 1 - distinct / known if known else None,
        "duplicateRatioExact": True,
        "sessions": figures.parties("session"),
        "clients": figures.parties("client"),
        "requestBytes": of("request").shaped(),
        "responseBytes": of("response").shaped(),
        "latencyMs": of("latency").shaped(1e-3),
        "firstByteMs": of("first_byte").distribution(1e-3),
        "ttftMs": of("first_token").distribution(1e-3),
        "latencyByInputSize": groups["sizes"],
        "tokens": {name: of(name).distribution() for name in ("prompt", "output")},
        "batch": of("batch").distribution(),
        "concurrency": {
            "mean": busy / span_us if totals["timed"] and span_us else None,
            "max": at_arrival.max,
            "atArrival": {f"p{percent}": at_arrival.percentile(percent) for percent in (50, 95, 99)},
            "known": totals["timed"],
            "capped": False,
        },
        "errors": {
            "failed": where_ended(totals["failed"]),
            "failedShare": totals["failed"] / totals["ended"] if totals["ended"] else None,
            "serverErrors": where_ended(totals["server_errors"]),
            "clientErrors": where_ended(totals["client_errors"]),
            "tooManyRequests": where_ended(totals["too_many"]),
            "clientAborted": where_ended(outcomes.get("client_aborted", 0)),
            "upstreamFailed": where_ended(outcomes.get("upstream_failed", 0)),
            "timedOut": where_ended(outcomes.get("timed_out", 0)),
            "answerErrors": {"answers": totals["answers"], "told": totals["answer_errors"]}
            if totals["answers"]
            else None,
        },
        "retries": {
            "windowS": RETRY_WINDOW_S,
            "watched": watched,
            "likely": likely,
            "share": None if likely is None else likely / known,
        },
        "notes": notes,
    }
    return document


def window_part(figures, zone):
    stretch = {"from": iso(figures.first), "to": iso(figures.last)}
    parts = [{**stretch, "requests": figures.requests}]
    span_s = (figures.last - figures.first) / 1e6
    return {**stretch, "spanS": span_s, "timeZone": zone, "parts": parts, "search": None}


def arrival_parts(figures, steps, by_step, is_ended):
    span_us = figures.last - figures.first
    peaks, idc = [], {}
    widths = {
        window: round(float(window) * 1e6) for window in sorted({*IDC_WINDOWS, *map(str, PEAK_WINDOWS_S)}, key=float)
    }
    counts_of = figures.windows(list(widths.values()))
    for window, width in widths.items():
        windows, counts = span_us // width, counts_of[width]
        arrivals = sum(count * times for count, times, _ in counts)
        squares = sum(count * count * times for count, times, _ in counts)
        if window in IDC_WINDOWS:
            enough = windows >= LEAST_IDC_WINDOWS
            idc[window] = (windows * squares - arrivals * arrivals) / (windows * arrivals) if enough else None
        if int(float(window)) in PEAK_WINDOWS_S and counts:
            most, _, since = max(counts)
            peaks.append(
                {
                    "windowS": int(window),
                    "requests": most,
                    "perSecond": most / int(window),
                    "toMean": most / (arrivals / windows),
                    "from": iso(figures.first + since),
                }
            )
    of = {peak["windowS"]: peak for peak in peaks}
    names = {"1s": 1, "60s": 60, "10m": 600, "1h": 3_600}
    gaps, squares, ties = figures.gaps()
    percentiles = {f"p{p}Ms": None if gaps.count == 0 else gaps.percentile(p) / 1e6 * 1000 for p in (50, 90, 99)}
    return {
        "rate": {
            "mean": figures.requests / (span_us / 1e6) if span_us else None,
            **{f"peak{name}": of.get(width, {}).get("perSecond") for name, width in names.items()},
            **{f"peakToMean{name}": of.get(width, {}).get("toMean") for name, width in names.items()},
        },
        "peaks": peaks,
        "series": series_part(figures, steps, by_step, is_ended),
        "interArrival": {
            "cv": math.sqrt(squares / gaps.count) / gaps.mean if gaps.count and gaps.mean else None,
            "meanMs": gaps.mean / 1e3 if gaps.count else None,
            **percentiles,
            "maxMs": gaps.max / 1e6 * 1000 if gaps.count else None,
            "ties": ties / gaps.count if gaps.count else None,
            "shape": gaps.shape(1e-3),
        },
        "idc": idc,
    }


def series_part(figures, steps, by_step, is_ended):
    step = figures.step_us
    # Seconds are counted from the first arrival, so that the first one is whole.
    first, last = (each - figures.first % 1_000_000 for each in (figures.first, figures.last))
    at = range(first - first % step, last + 1, step)
    rows = [steps.get(each, [0, 0, 0, 0, 0]) for each in at]
    return {
        "stepS": step // 1_000_000,
        "at": [each // 1_000_000 for each in at],
        "requests": [row[0] for row in rows],
        "failed": [row[1] if is_ended else None for row in rows],
        "peak1s": [row[2] for row in rows],
        "meanLatencyMs": [math.floor(row[4] / row[3] + 0.5) / 1e3 if row[3] else None for row in rows],
        "inFlight": [by_step.get(each) for each in at],
    }


def group_parts(names, histograms, requests, notes):
    def figures(part, name, count, _since, ended, failed, *sizes):
        request_sum, request_count, response_sum, response_count = sizes
        return name, {
            "requests": count,
            "share": count / requests,
            "failed": failed if ended else None,
            "meanRequestBytes": int(request_sum) / request_count if request_count else None,
            "meanResponseBytes": int(response_sum) / response_count if response_count else None,
            "latencyMs": histograms.get((part, name), Histogram()).distribution(1e-3),
        }

    found = {}
    parts = {part: [figures(part, *row) for row in names[part]] for part in ("route", "model", "size")}
    for part, did in (("route", "went to"), ("model", "named")):
        ordered = sorted(parts[part], key=lambda each: (-each[1]["requests"], each[0] or ""))
        listed = ordered[:MOST_NAMES]
        found[f"{part}s"] = [{part: name and without_tokens(name), **figures} for name, figures in listed]
        rest = sum(figures["requests"] for _, figures in ordered[MOST_NAMES:])
        if rest:
            notes.append(f"{rest} requests {did} further {part}s, which are not listed")
    sizes = sorted((int(name), figures) for name, figures in parts["size"])
    found["sizes"] = [
        {"fromBytes": 2 ** (at - 1) if at else 0, "toBytes": 2**at - 1 if at else 0, **figures} for at, figures in sizes
    ]
    return found


def counter_parts(names, requests, notes):
    plurals = {"status": "statuses", "method": "methods", "protocol": "protocols", "outcome": "outcomes"}
    found = {plural: [] for plural in plurals.values()}
    for part, plural in plurals.items():
        for name, count, *_ in sorted(names[part], key=lambda row: (-row[1], row[2])):
            value = int(name) if part == "status" and name is not None else name
            found[plural].append({part: value, "requests": count, "share": count / requests})
    for part in ("methods", "protocols"):
        rest = sum(row["requests"] for row in found[part][MOST_TEXTS:])
        found[part] = found[part][:MOST_TEXTS]
        if rest:
            notes.append(f"{rest} requests used further {part}, which are not listed")
    return found


RUN = re.compile(r"[A-Za-z0-9_]{16,}|[0-9a-fA-F]{20,}")
NAMED_KEYS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]+(?:\.[\w-]+)*", re.ASCII)


def without_tokens(name):
    """A name without what looks like a credential, as in `reprise profile`."""

    def hidden(match):
        run = match[0]
        is_hex = re.fullmatch(r"[0-9a-fA-F]{20,}", run)
        is_mixed = all(re.search(kind, run) for kind in ("[0-9]", "[a-z]", "[A-Z]"))
        return "{token}" if is_hex or is_mixed else run

    return RUN.sub(hidden, NAMED_KEYS.sub("{token}", name))


def account_parts(accounts, notes):
    """What was lost and left out. Accounts of the same recorders count it from the start: the latest one holds all."""
    latest = {}
    for account in sorted(accounts, key=lambda account: account["to"]):
        latest[tuple(account["recorders"])] = account

    def summed(key):
        total = {"exchanges": 0, "bytes": 0, "by": {}}
        for account in latest.values():
            for name, amount in [(None, account[key]), *account[key]["by"].items()]:
                into = total if name is None else total["by"].setdefault(name, {"exchanges": 0, "bytes": 0})
                into["exchanges"] += amount["exchanges"]
                into["bytes"] += amount["bytes"]
        return total

    losses = summed("losses")
    # Accounts of earlier versions do not say it.
    exact = [account["losses"].get("exact") for account in latest.values()]
    if None not in exact:
        losses["exact"] = bool(exact) and all(exact)
    if not accounts:
        notes.append("the dataset has no account of its recorders: what was lost and left out is not known to be 0")
    return {
        "filters": sorted({text for account in accounts for text in account["filters"]}),
        **coverage_parts(accounts, notes),
        "losses": losses,
        "omitted": summed("omitted"),
    }


def coverage_parts(accounts, notes):
    if len(accounts) == 1:
        [account] = accounts
        return {key: account[key] for key in ("coverage", "coverageUnexplained")}
    shares = [(account["exchanges"], account["coverage"]) for account in accounts]
    # The coverage of one export counts the rest of a stated fleet as missing, which is here.
    if not shares or any(share is None for _, share in shares) or any(each["fleetSize"] for each in accounts):
        notes.append("coverage of several exports is known only where each is known, and none states a fleet's size")
        return {"coverage": None, "coverageUnexplained": None}
    seen = sum(exchanges / share for exchanges, share in shares if share)
    return {"coverage": sum(exchanges for exchanges, _ in shares) / seen, "coverageUnexplained": None}


def iso(at_us):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at_us)
    return at.isoformat(timespec="microseconds") + "Z"


def accounts_in(dataset):
    """The accounts of a dataset in a directory of this machine."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(pathlib.Path(dataset).glob("_account-*.json"))]


def zone_of(name):
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        sys.exit(f"--tz {name} is not a time zone: {error}")


def write(document, out):
    text = json.dumps(document, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        pathlib.Path(out).write_text(text, "utf-8")
