import { isHttp2 } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { ConnectionsDocument } from '../../documents/connections.ts';
import type { ConnectionPolicy } from '../options/replay-flags.ts';
import { Concurrency } from '../plan/concurrency.ts';
import { identityOf } from '../plan/scaling.ts';
import type { PlannedSend } from '../plan/schedule.ts';
import { sessionName } from '../plan/sessions.ts';
import type { ConnectionNeed, PreparedRequest } from './messages.ts';

/** The sender and connection of a request. */
interface SendPlace {
  /** Requests with the same number go to the same sender. Absent for a request that belongs to no session. */
  readonly stripe?: number | undefined;
  /** The recorded connection that it waits for; null if it may use any connection. */
  readonly lane: number | null;
  /** The recorded connection of HTTP/2 that it shares; null if it may use any, and for HTTP/1.1. */
  readonly shared: number | null;
}

type Placed = Pick<PlannedSend, 'row' | 'copy' | 'layer'>;

/**
 * A session stays on one sender, so that its requests keep their order. With recorded connections, each connection
 * does. A copy counts as another client and may go to another sender.
 */
export function placeOf(send: Placed, connections: ConnectionPolicy): SendPlace {
  const own = connections === 'recorded' ? laneOf(send) : null;
  // A lane allows one request at a time, but a connection of HTTP/2 carries many.
  const isShared = isHttp2(send.row);
  const place = isShared ? { lane: null, shared: own } : { lane: own, shared: null };
  if (own !== null) return { ...place, stripe: own };
  const name = sessionName(send.row);
  return name === null ? place : { ...place, stripe: fnv1a(name, identityOf(send.layer, send.copy)) };
}

/**
 * Number of a recorded connection; each copy has its own connection. Null if the recording has none. The number is 53
 * bits of a hash, so that nothing must be remembered. Among a million connections, two collide with a probability of 1
 * in 18,000; then they wait for each other.
 */
export function laneOf({ row, copy, layer }: Placed): number | null {
  if (row.connection === null) return null;
  // Connections are numbered within one life of a recorder. The recorder's id identifies that life.
  const name = `${row.recorder} ${row.connection}`;
  const identity = identityOf(layer, copy);
  return (fnv1a(name, identity) & 0x1fffff) * 2 ** 32 + fnv1a(name, ~identity);
}

/** The 32-bit hash of Fowler, Noll and Vo over a number and a latin1 text, mixed at the end. */
function fnv1a(text: string, begin: number): number {
  let hash = 0x811c9dc5;
  for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((begin >>> shift) & 0xff), 0x01000193);
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  // Mixed, because the low bits choose the sender, and FNV mixes them poorly.
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * Counts planned sends by their recorded connection; each copy has its own. Connections are kept in two generations.
 * The older one is dropped as a whole, so at most twice the bound are kept.
 */
export class RecordedConnections {
  /** Requests by connection: of those used since the last change of generations, and of those not used since. */
  #recent = new Map<number, number>();
  #older = new Map<number, number>();
  readonly #byRecorder = new Map<string, { connections: number; requests: number }>();
  readonly #bound: number;
  #max = 0;
  #unknown = 0;
  #forgotten = 0;

  constructor(bound: number = LIMITS.countedConnections) {
    this.#bound = bound;
  }

  add(send: Placed): void {
    const lane = laneOf(send);
    if (lane === null) {
      this.#unknown += 1;
      return;
    }
    const before = this.#recent.get(lane) ?? this.#older.get(lane) ?? 0;
    this.#older.delete(lane);
    this.#recent.set(lane, before + 1);
    if (this.#recent.size >= this.#bound) this.#forgetOlder();
    this.#max = Math.max(this.#max, before + 1);
    const use = this.#byRecorder.get(send.row.recorder) ?? { connections: 0, requests: 0 };
    use.requests += 1;
    if (before === 0) use.connections += 1;
    this.#byRecorder.set(send.row.recorder, use);
  }

  figures(): ConnectionsDocument['recorded'] {
    const byRecorder = [...this.#byRecorder].map(([recorder, use]) => ({ recorder, ...use }));
    const connections = byRecorder.reduce((sum, use) => sum + use.connections, 0);
    const requests = byRecorder.reduce((sum, use) => sum + use.requests, 0);
    return {
      connections,
      requestsPerConnection: { mean: connections === 0 ? 0 : requests / connections, max: this.#max },
      byRecorder,
      unknown: this.#unknown,
      forgotten: this.#forgotten,
    };
  }

  #forgetOlder(): void {
    this.#forgotten += this.#older.size;
    this.#older = this.#recent;
    this.#recent = new Map();
  }
}

/** A request whose duration was not recorded is taken to last this long. */
const UNKNOWN_NS = 1_000_000_000;
/** At most this many of them are expected to be open together. */
const MOST_UNKNOWN = 32;

/** Forecasts how many connections the requests of a sender need. */
export class ConnectionForecast {
  readonly #known = new Concurrency();
  readonly #unknown = new Concurrency();

  /**
   * Adds a request, in the order of the schedule.
   * @returns the requests that are then open if the target is as fast as recorded; 0 if this one has its own connection
   */
  add({ intendedOffsetNs, recordedNs = null, lane = null, http2 }: PreparedRequest): number {
    if (lane !== null || http2 != null) return 0;
    this.#known.add(intendedOffsetNs, recordedNs);
    if (recordedNs === null) this.#unknown.add(intendedOffsetNs, UNKNOWN_NS);
    return this.#known.open + Math.min(MOST_UNKNOWN, this.#unknown.open);
  }
}

/** Connections are opened at most this long before they are needed. Unused ones are closed after 1.5 s. */
const AHEAD_NS = 1_000_000_000;

/** What the requests that a sender holds need. */
export class ConnectionNeeds {
  #needs: ConnectionNeed[] = [];

  add(need: ConnectionNeed): void {
    if (need.count > 0) this.#needs.push(need);
  }

  /** The connections that are needed at an instant of the run, or soon after it. Call it with increasing instants. */
  at(offsetNs: number): number {
    this.#needs = this.#needs.filter(({ toOffsetNs }) => toOffsetNs >= offsetNs);
    const soon = this.#needs.filter(({ fromOffsetNs }) => fromOffsetNs - offsetNs <= AHEAD_NS);
    return soon.reduce((most, { count }) => Math.max(most, count), 0);
  }
}
