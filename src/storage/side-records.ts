import { type Counted, type LifeAccount, NO_PROGRESS } from '../core/account.ts';
import type { ProtocolUse } from '../core/accounting.ts';
import type { ClockAnchor } from '../core/clock.ts';
import type { Connection } from './database.ts';
import type { Expiry } from './expiry.ts';
import { setMeta } from './segment-meta.ts';

/** Protocol names come from the wire (`Upgrade: anything`): past so many, a segment calls the rest `other`. */
const PROTOCOLS_MAX = 64;
/** Anchors kept while no commit succeeds: a day's. */
const ANCHORS_MAX = 1_440;

/**
 * What a capture says besides its exchanges, gathered until a commit takes it: the account of the recording,
 * connections by protocol, clock anchors and expiries. However long the disk refuses, it stays small.
 */
export class SideRecords {
  /** The newest; null when it is written. */
  account: LifeAccount | null = null;
  readonly protocolUses = new Map<string, ProtocolUse>();
  readonly #anchors: ClockAnchor[] = [];
  readonly expiries: Expiry[] = [];

  get anchors(): readonly ClockAnchor[] {
    return this.#anchors;
  }

  get isEmpty(): boolean {
    const records = this.protocolUses.size + this.#anchors.length + this.expiries.length;
    return this.account === null && records === 0;
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
    this.account = null;
    this.protocolUses.clear();
    this.#anchors.length = 0;
    this.expiries.length = 0;
  }
}

/** A row of `counter`. */
interface CounterRow extends Counted {
  readonly atUs: number;
}

/** Writes them into the tables of a segment. */
export class SideRecordWriter {
  readonly #connection: Connection;
  readonly #baseline: LifeAccount | null;
  readonly #statements;

  /** @param baseline the account that the segment before this one ends with: here only what grew since is counted */
  constructor(connection: Connection, baseline: LifeAccount | null) {
    this.#connection = connection;
    this.#baseline = baseline;
    this.#statements = {
      lastCounter: connection.prepare<[string, string], CounterRow>(
        `SELECT at_us AS atUs, exchanges, turns, bytes FROM counter WHERE kind = ? AND name = ?
        ORDER BY at_us DESC LIMIT 1`,
      ),
      counter: connection.prepare('INSERT INTO counter VALUES (?, ?, ?, ?, ?, ?)'),
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
    const { protocolUse, protocols, anchor, expiry } = this.#statements;
    if (records.account !== null) this.#writeAccount(records.account);
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

  #writeAccount(account: LifeAccount): void {
    setMeta(this.#connection, { account: JSON.stringify(account) });
    for (const kind of ['lost', 'omitted'] as const) {
      const before: Readonly<Partial<Record<string, Counted>>> = this.#baseline?.[kind] ?? {};
      for (const [name, value] of Object.entries(account[kind])) {
        this.#count(kind, name, account, value, before[name] ?? NO_PROGRESS);
      }
    }
  }

  /** One row each time that a counter grew, behind one of what it was before the segment. */
  #count(
    kind: string,
    name: string,
    { startedUs, atUs }: LifeAccount,
    value: Counted,
    before: Counted,
  ): void {
    const { lastCounter, counter } = this.#statements;
    const last = lastCounter.get(kind, name) ?? null;
    const { exchanges, turns, bytes } = value;
    const known = last ?? before;
    if (known.exchanges === exchanges && known.turns === turns && known.bytes === bytes) return;
    const sinceUs = Math.round(last?.atUs ?? this.#baseline?.atUs ?? startedUs);
    if (last === null) counter.run(kind, name, sinceUs, before.exchanges, before.turns, before.bytes);
    // A clock that was set back must not put a counter in front of what it grew from.
    counter.run(kind, name, Math.max(Math.round(atUs), sinceUs + 1), exchanges, turns, bytes);
  }
}
