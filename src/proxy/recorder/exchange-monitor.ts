import type {
  LinkLimit,
  Progress,
  ProtocolUse,
  RecentExchange,
  RecordedTraffic,
} from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { Exchange, Message } from '../../core/exchange.ts';
import type { SecondsHistogram } from '../../core/histogram.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CommitResult, CommittingSink } from '../../core/ports.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';

/** A closed list for labels of metrics: the name of an upgrade comes from the network and may be any text. */
export const PROTOCOLS = ['http/1.1', 'h2', 'h2c', 'websocket', 'connect', 'unparsed', 'other'] as const;

/** A closed list for labels of metrics: a method comes from the network and may be any text. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'] as const;
export const CODE_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'none'] as const;

export const DURATION_BOUNDS_S = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
];
const WRITE_BOUNDS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** The counts before any traffic. */
export const NO_TRAFFIC: RecordedTraffic = {
  requests: [],
  durationSeconds: emptyHistogram(DURATION_BOUNDS_S),
  writeSeconds: emptyHistogram(WRITE_BOUNDS_S),
  requestBytes: 0,
  responseBytes: 0,
  bodiesDropped: {},
  linksMissed: {},
  protocols: {},
};

export function emptyHistogram(bounds: readonly number[]): SecondsHistogram {
  return { bounds, counts: new Array<number>(bounds.length + 1).fill(0), sum: 0 };
}

export type Counted<Value> = { -readonly [Key in keyof Value]: Counted<Value[Key]> };

/** Adds a duration to its bucket. The bounds are fixed, as Prometheus requires. */
export function addSeconds(histogram: Counted<SecondsHistogram>, seconds: number): void {
  const { bounds, counts } = histogram;
  const bucket = bounds.findIndex((bound) => seconds <= bound);
  const index = bucket < 0 ? bounds.length : bucket;
  counts[index] = (counts[index] ?? 0) + 1;
  histogram.sum += seconds;
}

/**
 * Passes exchanges on to a sink. Keeps their counts, and the facts of the last few, for a live view and the metrics. It
 * never keeps a payload.
 */
export class ExchangeMonitor implements CommittingSink {
  readonly #sink: CommittingSink;
  readonly #clock: Clock;
  readonly #onFirstCommit: () => void;
  readonly #onTaken: (exchange: Exchange) => void;
  #committed = false;
  readonly #traffic: Counted<RecordedTraffic>;
  /** Oldest first. */
  readonly #recent: RecentExchange[] = [];

  /**
   * @param earlier counts of earlier recorders of the same recording
   * @param onTaken gets each exchange that the sink took
   */
  constructor(
    sink: CommittingSink,
    clock: Clock,
    earlier: RecordedTraffic = NO_TRAFFIC,
    onFirstCommit: () => void = () => undefined,
    onTaken: (exchange: Exchange) => void = () => undefined,
  ) {
    this.#sink = sink;
    this.#clock = clock;
    this.#traffic = structuredClone(earlier) as Counted<RecordedTraffic>;
    this.#onFirstCommit = onFirstCommit;
    this.#onTaken = onTaken;
  }

  append(exchange: Exchange): boolean {
    const taken = this.#sink.append(exchange);
    if (taken) {
      this.#note(exchange);
      this.#onTaken(exchange);
    }
    return taken;
  }

  addProtocolUse(use: ProtocolUse): void {
    this.#sink.addProtocolUse(use);
    const name = PROTOCOLS.find((one) => one === use.protocol) ?? 'other';
    const { connections, bytes } = this.#traffic.protocols[name] ?? { connections: 0, bytes: 0 };
    const sum = { connections: connections + use.connections, bytes: bytes + use.bytes };
    this.#traffic.protocols[name] = sum;
  }

  /** A limit on the search for links was reached so many times. */
  noteMissedLinks(limit: LinkLimit, count: number): void {
    const missed = this.#traffic.linksMissed;
    missed[limit] = (missed[limit] ?? 0) + count;
  }

  due(nowNs: number): boolean {
    return this.#sink.due(nowNs);
  }

  commit(progress?: Progress): CommitResult {
    const sinceNs = this.#clock.nowNs();
    const result = this.#sink.commit(progress);
    if (result.committed === 0) return result;
    addSeconds(this.#traffic.writeSeconds, (this.#clock.nowNs() - sinceNs) / 1e9);
    if (!this.#committed) this.#onFirstCommit();
    this.#committed = true;
    return result;
  }

  close(): void {
    this.#sink.close();
  }

  traffic(): RecordedTraffic {
    return structuredClone(this.#traffic);
  }

  /** The last exchanges, newest first. */
  recent(): RecentExchange[] {
    return this.#recent.toReversed();
  }

  #note(exchange: Exchange): void {
    const facts = factsOf(exchange);
    this.#recent.push(facts);
    if (this.#recent.length > LIMITS.recentExchanges) this.#recent.shift();
    const traffic = this.#traffic;
    const method = METHODS.find((one) => one === exchange.method) ?? 'other';
    const codeClass = codeClassOf(exchange.status);
    const known = traffic.requests.find((one) => one.method === method && one.codeClass === codeClass);
    if (known === undefined) traffic.requests.push({ method, codeClass, count: 1 });
    else known.count += 1;
    if (facts.durationUs !== null) addSeconds(traffic.durationSeconds, facts.durationUs / 1e6);
    traffic.requestBytes += facts.requestBytes;
    traffic.responseBytes += facts.responseBytes;
    this.#noteDropped(exchange.request);
    this.#noteDropped(exchange.response);
  }

  #noteDropped(message: Message | null): void {
    const reason = message === null ? null : dropReasonOf(message.redacted);
    const dropped = this.#traffic.bodiesDropped;
    if (reason !== null) dropped[reason] = (dropped[reason] ?? 0) + 1;
  }
}

/** Only facts, because a kept exchange would keep its bodies in memory. */
function factsOf(exchange: Exchange): RecentExchange {
  return {
    arrivalUs: exchange.arrivalUs,
    route: exchange.route,
    model: exchange.model,
    status: exchange.status,
    outcome: exchange.outcome,
    requestBytes: exchange.request?.body.bytes ?? 0,
    responseBytes: exchange.response?.body.bytes ?? 0,
    durationUs: exchange.lastByteOffsetUs,
  };
}

function codeClassOf(status: number | null): string {
  return CODE_CLASSES[Math.floor((status ?? 0) / 100) - 1] ?? 'none';
}
