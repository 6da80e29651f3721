"""Hours and days of traffic, and the days that break the cycle: the formulas of `reprise profile`."""

import datetime
import math
import statistics

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SLOT_US = 900_000_000
LEAST_OBSERVED_S = 60
WHOLE_HOUR_S = 3_540
LEAST_HOURS = 6
LEAST_PEERS = 2
MAD_TO_SIGMA = 1.4826
SIGMAS = 3
LEAST_VOLUME = math.log(1.3)
LEAST_SHAPE = 0.15


class Day:
    def __init__(self, date):
        self.day = date.isoformat()
        self.weekday = date.weekday()
        self.requests = [0] * 24
        self.observed_s = [0.0] * 24

    def is_whole(self, hour):
        return self.observed_s[hour] >= WHOLE_HOUR_S

    def rate(self, hour):
        return self.requests[hour] / self.observed_s[hour]

    def whole_hours(self):
        return [hour for hour in range(24) if self.is_whole(hour)]


def cycle_parts(slots, first_us, last_us, zone):
    """The parts `hourOfWeek`, `hourOfWeekPerSecond` and `cycle`. @param slots arrivals by quarter of an hour"""
    days = local_days(slots, first_us, last_us, zone)
    requests, observed_s = [0] * 168, [0.0] * 168
    for day in days:
        for hour in range(24):
            requests[day.weekday * 24 + hour] += day.requests[hour]
            observed_s[day.weekday * 24 + hour] += day.observed_s[hour]
    rates = [n / s if s >= LEAST_OBSERVED_S else None for n, s in zip(requests, observed_s, strict=True)]
    return {
        "hourOfWeek": requests,
        "hourOfWeekPerSecond": rates,
        "cycle": {"daily": daily(days), "weekly": weekly(days), "unusual": unusual(days)},
    }


def local_days(slots, first_us, last_us, zone):
    """Offsets of all zones since 1972 are whole quarters of an hour."""
    counts = {int(slot): int(count) for slot, count in slots}
    days = {}
    for slot in range(first_us - first_us % SLOT_US, last_us + 1, SLOT_US):
        at = datetime.datetime.fromtimestamp(slot // 1_000_000, zone)
        day = days.setdefault(at.date(), Day(at.date()))
        day.requests[at.hour] += counts.get(slot, 0)
        day.observed_s[at.hour] += (min(last_us + 1, slot + SLOT_US) - max(first_us, slot)) / 1e6
    return [days[date] for date in sorted(days)]


def daily(days):
    rows = []
    for hour in range(24):
        rates = [day.rate(hour) for day in days if day.is_whole(hour)]
        mean, least, most = (sum(rates) / len(rates), min(rates), max(rates)) if rates else (None, None, None)
        rows.append({"hour": hour, "days": len(rates), "mean": mean, "min": least, "max": most})
    return rows


def weekly(days):
    rows = []
    for weekday, name in enumerate(WEEKDAYS):
        same = [day for day in days if day.weekday == weekday]
        observed_s = sum(sum(day.observed_s) for day in same)
        whole = sum(len(day.whole_hours()) == 24 for day in same)
        mean = sum(sum(day.requests) for day in same) / observed_s if observed_s >= LEAST_OBSERVED_S else None
        rows.append({"weekday": name, "days": whole, "mean": mean})
    return rows


def unusual(days):
    """Days that differ from days like them by volume or by shape."""
    usable = [day for day in days if len(day.whole_hours()) >= LEAST_HOURS]
    judged = [figures for day in usable if (figures := judge(day, usable)) is not None]
    volume, volume_spread = limit([ratio for ratio, _ in judged])
    shape, shape_spread = limit([figures["shapeDistance"] for _, figures in judged])
    found = []
    for ratio, figures in judged:
        reasons = []
        if abs(ratio - volume) > max(LEAST_VOLUME, volume_spread):
            reasons.append("volume")
        if figures["shapeDistance"] > max(LEAST_SHAPE, shape + shape_spread):
            reasons.append("shape")
        if reasons:
            volume_ratio = math.exp(ratio) if ratio < math.inf else None
            found.append({**figures, "reasons": reasons, "volumeRatio": volume_ratio})
    return {"compared": len(judged), "days": found}


def judge(day, days):
    """Logarithm of the volume ratio, and the other figures; None where nothing compares."""
    name, peers = peers_of(day, days)
    hours = [hour for hour in day.whole_hours() if any(peer.is_whole(hour) for peer in peers)]
    if len(hours) < LEAST_HOURS:
        return None
    mine = [day.rate(hour) for hour in hours]
    usual = [statistics.median(peer.rate(hour) for peer in peers if peer.is_whole(hour)) for hour in hours]
    mine_sum, usual_sum = sum(mine), sum(usual)
    worst = max(range(len(hours)), key=lambda at: abs(mine[at] - usual[at]))
    distance = 0.0
    if mine_sum and usual_sum:
        distance = sum(abs(a / mine_sum - b / usual_sum) for a, b in zip(mine, usual, strict=True)) / 2
    return log_ratio(mine_sum, usual_sum), {
        "day": day.day,
        "weekday": WEEKDAYS[day.weekday],
        "comparedWith": name,
        "shapeDistance": distance,
        "hour": hours[worst],
        "hourMean": mine[worst],
        "hourUsual": usual[worst],
    }


def log_ratio(mine, usual):
    if mine == usual:
        return 0.0
    if usual == 0:
        return math.inf
    return math.log(mine / usual) if mine else -math.inf


def peers_of(day, days):
    others = [other for other in days if other is not day]
    same = [other for other in others if other.weekday == day.weekday]
    if len(same) >= LEAST_PEERS:
        return f"other {WEEKDAYS[day.weekday]}s", same
    is_weekend = day.weekday >= 5
    kind = [other for other in others if (other.weekday >= 5) == is_weekend]
    if len(kind) >= LEAST_PEERS:
        return "other weekend days" if is_weekend else "other workdays", kind
    return "all other days", others if len(others) > LEAST_PEERS else []


def limit(values):
    """Median, and three sigmas as the median absolute deviation has them."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 0.0
    middle = statistics.median(finite)
    return middle, SIGMAS * MAD_TO_SIGMA * statistics.median(abs(value - middle) for value in finite)
