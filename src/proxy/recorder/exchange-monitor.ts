import type {
  LifeAccount,
  Progress,
  ProtocolCount,
  ProtocolUse,
  RecentExchange,
  RecordedTraffic,
  SecondsHistogram,
} from '../../core/accounting.ts';
import type { Clock, ClockAnchor } from '../../core/clock.ts';
import { BODY_DROP_REASONS, type BodyDropReason } from '../../core/errors.ts';
import type { Exchange, Message } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommitResult, CommittingSink } from '../../core/ports.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';

/** Counts durations into buckets with fixed upper bounds, as Prometheus wants them. */
class SecondsCounter {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  add(seconds: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && seconds > (this.#bounds[bucket] as number)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sum += seconds;
  }

  read(): SecondsHistogram {
    return { bounds: this.#bounds, counts: [...this.#counts], sum: this.#sum };
  }
}

/** Both together; they have the same bounds. */
function sumOfSeconds(a: SecondsHistogram, b: SecondsHistogram): SecondsHistogram {
  return {
    bounds: a.bounds,
    counts: a.counts.map((count, index) => count + (b.counts[index] ?? 0)),
    sum: a.sum + b.sum,
  };
}

/** Labels of metrics are closed lists: the name of an upgrade comes from the wire and may be anything. */
export const PROTOCOLS = ['http/1.1', 'h2', 'h2c', 'websocket', 'connect', 'unparsed', 'other'] as const;
type Protocol = (typeof PROTOCOLS)[number];

type Counts = Readonly<Partial<Record<Protocol, ProtocolCount>>>;

const NONE: ProtocolCount = { connections: 0, bytes: 0 };

/** Connections and their bytes by what was spoken on them, as far as they have ended. */
class ProtocolCounts {
  readonly #counts = new Map<Protocol, { connections: number; bytes: number }>();

  add({ protocol, connections, bytes }: ProtocolUse): void {
    const name = PROTOCOLS.find((one) => one === protocol) ?? 'other';
    const count = this.#counts.get(name);
    if (count === undefined) this.#counts.set(name, { connections, bytes });
    else {
      count.connections += connections;
      count.bytes += bytes;
    }
  }

  read(): Counts {
    return Object.fromEntries([...this.#counts].map(([name, count]) => [name, { ...count }]));
  }
}

/** Of recorders that followed each other. */
function sumOfProtocols(a: Counts, b: Counts): Counts {
  const sums = PROTOCOLS.map((name) => {
    const [one, other] = [a[name] ?? NONE, b[name] ?? NONE];
    return [
      name,
      { connections: one.connections + other.connections, bytes: one.bytes + other.bytes },
    ] as const;
  });
  return Object.fromEntries(sums.filter(([, { connections }]) => connections > 0));
}

/** Labels of metrics are closed lists: a method comes from the wire and may be anything. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'] as const;
export const CODE_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'none'] as const;

const OTHER_METHOD = METHODS.length - 1;
const NO_CODE = CODE_CLASSES.length - 1;
const DURATION_BOUNDS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const WRITE_BOUNDS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/**
 * Stands before a sink and keeps what a live view and the metrics say of the exchanges that pass: counts, and the
 * facts of the last few. Never a payload.
 */
export class ExchangeMonitor implements CommittingSink {
  readonly #sink: CommittingSink;
  readonly #clock: Clock;
  readonly #onFirstCommit: () => void;
  #committed = false;
  readonly #requests = new Float64Array(METHODS.length * CODE_CLASSES.length);
  readonly #durations = new SecondsCounter(DURATION_BOUNDS_S);
  readonly #writes = new SecondsCounter(WRITE_BOUNDS_S);
  /** Written over, not made anew: of thousands a second the last few are asked for once. */
  readonly #last: Facts[] = [];
  #count = 0;
  readonly #dropped = new Map<BodyDropReason, number>();
  readonly #protocols = new ProtocolCounts();
  #requestBytes = 0;
  #responseBytes = 0;

  constructor(sink: CommittingSink, clock: Clock, onFirstCommit: () => void = () => undefined) {
    this.#sink = sink;
    this.#clock = clock;
    this.#onFirstCommit = onFirstCommit;
  }

  append(exchange: Exchange): boolean {
    const taken = this.#sink.append(exchange);
    if (taken) this.#note(exchange);
    return taken;
  }

  setAccount(account: LifeAccount): void {
    this.#sink.setAccount(account);
  }

  addProtocolUse(use: ProtocolUse): void {
    this.#sink.addProtocolUse(use);
    this.#protocols.add(use);
  }

  addAnchor(anchor: ClockAnchor): void {
    this.#sink.addAnchor(anchor);
  }

  due(nowNs: number): boolean {
    return this.#sink.due(nowNs);
  }

  commit(progress?: Progress): CommitResult {
    const sinceNs = this.#clock.nowNs();
    const result = this.#sink.commit(progress);
    if (result.committed === 0) return result;
    this.#writes.add((this.#clock.nowNs() - sinceNs) / 1e9);
    if (!this.#committed) this.#onFirstCommit();
    this.#committed = true;
    return result;
  }

  close(): void {
    this.#sink.close();
  }

  traffic(): RecordedTraffic {
    const requests = [...this.#requests].flatMap((count, index) => {
      const method = METHODS[Math.floor(index / CODE_CLASSES.length)] ?? 'other';
      const codeClass = CODE_CLASSES[index % CODE_CLASSES.length] ?? 'none';
      return count === 0 ? [] : [{ method, codeClass, count }];
    });
    return {
      requests,
      durationSeconds: this.#durations.read(),
      writeSeconds: this.#writes.read(),
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      bodiesDropped: Object.fromEntries(this.#dropped),
      protocols: this.#protocols.read(),
    };
  }

  /** The last exchanges, newest first. */
  recent(): RecentExchange[] {
    const next = this.#count % LIMITS.recentExchanges;
    const last = [...this.#last.slice(next), ...this.#last.slice(0, next)];
    return last.map((facts) => ({ ...facts })).reverse();
  }

  #note(exchange: Exchange): void {
    const place = this.#count % LIMITS.recentExchanges;
    const last = this.#last[place];
    if (last === undefined) this.#last[place] = noteFacts({ ...NO_FACTS }, exchange);
    else noteFacts(last, exchange);
    this.#count += 1;
    const method = METHODS.indexOf(exchange.method as (typeof METHODS)[number]);
    const cell = (method < 0 ? OTHER_METHOD : method) * CODE_CLASSES.length + codeClassOf(exchange.status);
    this.#requests[cell] = (this.#requests[cell] as number) + 1;
    if (exchange.lastByteOffsetUs !== null) this.#durations.add(exchange.lastByteOffsetUs / 1e6);
    this.#requestBytes += exchange.request?.body.bytes ?? 0;
    this.#responseBytes += exchange.response?.body.bytes ?? 0;
    this.#noteDropped(exchange.request);
    this.#noteDropped(exchange.response);
  }

  #noteDropped(message: Message | null): void {
    const reason = message === null ? null : dropReasonOf(message.redacted);
    if (reason !== null) this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + 1);
  }
}

/** Of recorders that followed each other. */
export function sumOfTraffic(a: RecordedTraffic, b: RecordedTraffic): RecordedTraffic {
  const counts = new Map(a.requests.map((one) => [`${one.method} ${one.codeClass}`, one]));
  for (const one of b.requests) {
    const key = `${one.method} ${one.codeClass}`;
    counts.set(key, { ...one, count: one.count + (counts.get(key)?.count ?? 0) });
  }
  return {
    requests: [...counts.values()],
    durationSeconds: sumOfSeconds(a.durationSeconds, b.durationSeconds),
    writeSeconds: sumOfSeconds(a.writeSeconds, b.writeSeconds),
    requestBytes: a.requestBytes + b.requestBytes,
    responseBytes: a.responseBytes + b.responseBytes,
    bodiesDropped: Object.fromEntries(
      BODY_DROP_REASONS.map((reason) => [
        reason,
        (a.bodiesDropped[reason] ?? 0) + (b.bodiesDropped[reason] ?? 0),
      ]),
    ),
    protocols: sumOfProtocols(a.protocols, b.protocols),
  };
}

/** What no recorder has counted yet. */
export const NO_TRAFFIC: RecordedTraffic = {
  requests: [],
  durationSeconds: new SecondsCounter(DURATION_BOUNDS_S).read(),
  writeSeconds: new SecondsCounter(WRITE_BOUNDS_S).read(),
  requestBytes: 0,
  responseBytes: 0,
  bodiesDropped: {},
  protocols: {},
};

type Facts = { -readonly [Fact in keyof RecentExchange]: RecentExchange[Fact] };

const NO_FACTS: RecentExchange = {
  arrivalUs: 0,
  route: null,
  model: null,
  status: null,
  outcome: 'completed',
  requestBytes: 0,
  responseBytes: 0,
  durationUs: null,
};

/** Facts alone: an exchange that was kept would keep its bodies. */
function noteFacts(into: Facts, exchange: Exchange): Facts {
  into.arrivalUs = exchange.arrivalUs;
  into.route = exchange.route;
  into.model = exchange.model;
  into.status = exchange.status;
  into.outcome = exchange.outcome;
  into.requestBytes = exchange.request?.body.bytes ?? 0;
  into.responseBytes = exchange.response?.body.bytes ?? 0;
  into.durationUs = exchange.lastByteOffsetUs;
  return into;
}

function codeClassOf(status: number | null): number {
  return status === null || status < 100 || status > 599 ? NO_CODE : Math.floor(status / 100) - 1;
}
