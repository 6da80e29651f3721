import { hasFailed, readyOffsetNs, type Send } from '../core/run.ts';
import type { Connection } from './database.ts';

const NS_PER_S = 1e9;

interface SecondCounts {
  offered: number;
  sent: number;
  completed: number;
  failed: number;
  cancelled: number;
  refused: number;
  lagMaxNs: number | null;
}

/** Counts what a batch of sends adds to each second of the run, and adds it to table `second`. */
export class RunSeconds {
  readonly #upsert;
  #batch = new Map<number, SecondCounts>();

  constructor(connection: Connection) {
    this.#upsert = connection.prepare<
      [number, number, number, number, number, number, number, number | null]
    >(`
      INSERT INTO second (second, offered, sent, completed, failed, cancelled, refused, lag_max_ns)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (second) DO UPDATE SET
        offered = offered + excluded.offered,
        sent = sent + excluded.sent,
        completed = completed + excluded.completed,
        failed = failed + excluded.failed,
        cancelled = cancelled + excluded.cancelled,
        refused = refused + excluded.refused,
        lag_max_ns = coalesce(max(lag_max_ns, excluded.lag_max_ns), lag_max_ns, excluded.lag_max_ns)
    `);
  }

  /** To be called within the transaction that inserts the same sends. */
  write(sends: readonly Send[]): void {
    // A batch whose transaction did not come about may have left something. What a map is cleared of would stay.
    this.#batch = new Map();
    for (const send of sends) this.#count(send);
    for (const [second, counts] of this.#batch) {
      const { offered, sent, completed, failed, cancelled, refused, lagMaxNs } = counts;
      this.#upsert.run(second, offered, sent, completed, failed, cancelled, refused, lagMaxNs);
    }
  }

  #count(send: Send): void {
    const { intendedOffsetNs, actualOffsetNs, connectionWaitNs, lastByteOffsetNs } = send;
    this.#at(intendedOffsetNs).offered += 1;
    if (send.refused) this.#at(intendedOffsetNs).refused += 1;
    if (send.refused || actualOffsetNs === null) return;
    const left = this.#at(actualOffsetNs);
    left.sent += 1;
    const readyNs = readyOffsetNs({ actualOffsetNs, connectionWaitNs });
    left.lagMaxNs = Math.max(left.lagMaxNs ?? 0, readyNs - intendedOffsetNs);
    const ended = this.#at(lastByteOffsetNs ?? actualOffsetNs);
    if (send.cancelled) ended.cancelled += 1;
    else if (hasFailed(send)) ended.failed += 1;
    else ended.completed += 1;
  }

  #at(offsetNs: number): SecondCounts {
    const second = Math.floor(offsetNs / NS_PER_S);
    let counts = this.#batch.get(second);
    if (counts === undefined) {
      counts = { offered: 0, sent: 0, completed: 0, failed: 0, cancelled: 0, refused: 0, lagMaxNs: null };
      this.#batch.set(second, counts);
    }
    return counts;
  }
}
