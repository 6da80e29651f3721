import {
  type Amount,
  addLoss,
  type Loss,
  type Omission,
  type OmissionCause,
  type ProtocolUse,
} from '../core/accounting.ts';
import type { ClockAnchor } from '../core/clock.ts';
import type { Connection } from './database.ts';

/** Protocol names come from the wire (`Upgrade: anything`): past so many, a segment calls the rest `other`. */
const PROTOCOLS_MAX = 64;
/** Anchors kept while no commit succeeds: a day's. */
const ANCHORS_MAX = 1_440;

/** A segment that retention took away. Times are epoch microseconds, bytes those of its file. */
export interface Expiry {
  readonly file: string;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  readonly exchanges: number;
  readonly bytes: number;
  readonly expiredUs: number;
  readonly why: 'quota' | 'retain';
  /** Expiries that were recorded in the segment itself, and those before them: they would be forgotten with it. */
  readonly earlier: ExpiredSums;
}

/** What retention took away, summed. */
export interface ExpiredSums extends Amount {
  readonly segments: number;
}

/**
 * What a capture says besides its exchanges, gathered until a commit takes it: losses by reason, omissions by
 * cause, connections by protocol, clock anchors and expiries. However long the disk refuses, it stays small:
 * what shares a reason is one record with the span of all.
 */
export class SideRecords {
  readonly losses = new Map<Loss['reason'], Loss>();
  readonly omissions = new Map<OmissionCause, Omission>();
  readonly protocolUses = new Map<string, ProtocolUse>();
  readonly #anchors: ClockAnchor[] = [];
  readonly expiries: Expiry[] = [];

  get anchors(): readonly ClockAnchor[] {
    return this.#anchors;
  }

  get isEmpty(): boolean {
    return (
      this.losses.size + this.omissions.size + this.protocolUses.size === 0 &&
      this.#anchors.length + this.expiries.length === 0
    );
  }

  addLoss(loss: Loss): void {
    addLoss(this.losses, loss);
  }

  addOmission(omission: Omission): void {
    const known = this.omissions.get(omission.cause);
    this.omissions.set(omission.cause, {
      cause: omission.cause,
      exchanges: omission.exchanges + (known?.exchanges ?? 0),
      bytes: omission.bytes + (known?.bytes ?? 0),
    });
  }

  addProtocolUse(use: ProtocolUse): void {
    const full = this.protocolUses.size >= PROTOCOLS_MAX && !this.protocolUses.has(use.protocol);
    const protocol = full ? 'other' : use.protocol;
    const known = this.protocolUses.get(protocol);
    this.protocolUses.set(protocol, {
      protocol,
      connections: use.connections + (known?.connections ?? 0),
      bytes: use.bytes + (known?.bytes ?? 0),
    });
  }

  addAnchor(anchor: ClockAnchor): void {
    this.#anchors.push(anchor);
    if (this.#anchors.length > ANCHORS_MAX) this.#anchors.shift();
  }

  clear(): void {
    this.losses.clear();
    this.omissions.clear();
    this.protocolUses.clear();
    this.#anchors.length = 0;
    this.expiries.length = 0;
  }
}

/** Writes them into the tables of a segment. */
export class SideRecordWriter {
  readonly #statements;

  constructor(connection: Connection) {
    this.#statements = {
      loss: connection.prepare(
        'INSERT INTO loss (reason, from_us, to_us, exchanges, bytes) VALUES (?, ?, ?, ?, ?)',
      ),
      omission: connection.prepare(`INSERT INTO omission VALUES (?, ?, ?) ON CONFLICT (cause) DO UPDATE SET
        exchanges = exchanges + excluded.exchanges, bytes = bytes + excluded.bytes`),
      protocolUse: connection.prepare(`INSERT INTO protocol_use VALUES (?, ?, ?)
        ON CONFLICT (protocol) DO UPDATE SET
        connections = connections + excluded.connections, bytes = bytes + excluded.bytes`),
      protocols: connection
        .prepare<[string], number>("SELECT count(*) FROM protocol_use WHERE protocol NOT IN (?, 'other')")
        .pluck(),
      anchor: connection.prepare('INSERT INTO anchor (monotonic_ns, epoch_us) VALUES (?, ?)'),
      expiry: connection.prepare('INSERT OR REPLACE INTO expiry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'),
    };
  }

  /** In a transaction. */
  write(records: SideRecords): void {
    const { loss, omission, protocolUse, protocols, anchor, expiry } = this.#statements;
    for (const { reason, fromUs, toUs, exchanges, bytes } of records.losses.values()) {
      loss.run(reason, Math.floor(fromUs), Math.ceil(toUs), exchanges, bytes);
    }
    for (const { cause, exchanges, bytes } of records.omissions.values()) {
      omission.run(cause, exchanges, bytes);
    }
    for (const { protocol, connections, bytes } of records.protocolUses.values()) {
      const full = (protocols.get(protocol) ?? 0) >= PROTOCOLS_MAX;
      protocolUse.run(full ? 'other' : protocol, connections, bytes);
    }
    for (const { monotonicNs, epochUs } of records.anchors) {
      anchor.run(Math.round(monotonicNs), Math.round(epochUs));
    }
    for (const gone of records.expiries) {
      expiry.run(
        gone.file,
        gone.firstArrivalUs,
        gone.lastArrivalUs,
        gone.exchanges,
        gone.bytes,
        gone.expiredUs,
        gone.why,
        gone.earlier.segments,
        gone.earlier.exchanges,
        gone.earlier.bytes,
      );
    }
  }
}
