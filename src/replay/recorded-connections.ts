import { LIMITS } from '../core/limits.ts';
import type { PlannedSend } from './schedule.ts';
import { laneOf } from './send-place.ts';

/** How what was planned lay on connections when it was recorded; to be held against how it was sent. */
export interface RecordedConnectionUse {
  readonly connections: number;
  readonly requestsPerConnection: { readonly mean: number; readonly max: number };
  /** A recorder stands in front of one replica: what an address of the target is to the sending. */
  readonly byRecorder: readonly {
    readonly recorder: string;
    readonly connections: number;
    readonly requests: number;
  }[];
  /** Planned sends of which no connection is known, as of imports. */
  readonly unknown: number;
  /** Connections forgotten while they were silent, because too many were counted at once: they may count twice. */
  readonly forgotten: number;
}

interface RecorderUse {
  connections: number;
  requests: number;
}

/**
 * Counts planned sends by the connection they were recorded on; a copy has one of its own. In two generations, of
 * which the older is forgotten whole, so that at most twice the bound are held: an order of who spoke last, kept for each request, would be most of what the
 * replay's memory is turned over for.
 */
export class RecordedConnections {
  /** Requests of the connections that spoke since the older ones were put aside, and of those that have not. */
  #recent = new Map<number, number>();
  #older = new Map<number, number>();
  readonly #byRecorder = new Map<string, RecorderUse>();
  readonly #bound: number;
  #max = 0;
  #unknown = 0;
  #forgotten = 0;

  constructor(bound: number = LIMITS.countedConnections) {
    this.#bound = bound;
  }

  add(send: Pick<PlannedSend, 'row' | 'copy' | 'layer'>): void {
    const lane = laneOf(send);
    if (lane === null) {
      this.#unknown += 1;
      return;
    }
    const before = this.#recent.get(lane) ?? this.#takeOlder(lane);
    this.#recent.set(lane, before + 1);
    if (this.#recent.size >= this.#bound) this.#forgetOlder();
    this.#max = Math.max(this.#max, before + 1);
    const use = this.#useOf(send.row.recorder);
    use.requests += 1;
    if (before > 0) return;
    use.connections += 1;
  }

  figures(): RecordedConnectionUse {
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

  #takeOlder(lane: number): number {
    const requests = this.#older.get(lane) ?? 0;
    if (requests > 0) this.#older.delete(lane);
    return requests;
  }

  #forgetOlder(): void {
    this.#forgotten += this.#older.size;
    this.#older = this.#recent;
    this.#recent = new Map();
  }

  #useOf(recorder: string): RecorderUse {
    let use = this.#byRecorder.get(recorder);
    if (use === undefined) {
      use = { connections: 0, requests: 0 };
      this.#byRecorder.set(recorder, use);
    }
    return use;
  }
}
