import type { LedgerReading, Tally } from './ledger.ts';
import type { ForwarderReading } from './messages.ts';

type Tallies = Readonly<Record<string, Readonly<Tally>>>;

/** What the forwarders of a recording counted together. */
export interface ForwardersReading {
  readonly ledger: LedgerReading;
  readonly open: number;
  readonly turnedAway: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
  readonly queuedBytes: number;
}

const NOTHING: ForwardersReading = {
  ledger: {
    connections: 0,
    unsettledConnections: 0,
    seen: { bytes: 0, turns: 0 },
    recorded: { bytes: 0, turns: 0 },
    lost: {},
    omitted: {},
    pending: { bytes: 0, turns: 0 },
    exchanges: 0,
  },
  open: 0,
  turnedAway: 0,
  failed: {},
  refused: {},
  queuedBytes: 0,
};

/**
 * The account of a recording over its forwarders and their lives. What one had pending when it died is lost with
 * it (`crash_gap`); what it saw after its last beat nobody knows.
 */
export class LedgerHistory {
  #past = NOTHING;
  /** Of the running forwarders, each in its place. */
  readonly #current = new Map<number, ForwarderReading>();

  /** A running forwarder's account. */
  update(slot: number, reading: ForwarderReading): void {
    this.#current.set(slot, reading);
  }

  /** @returns what it last said, null when it never said anything */
  forwarderEnded(slot: number): ForwarderReading | null {
    const last = this.#current.get(slot) ?? null;
    if (last) this.#past = sumOf(this.#past, settled(last));
    this.#current.delete(slot);
    return last;
  }

  read(): ForwardersReading {
    return [...this.#current.values()].reduce(sumOf, this.#past);
  }

  /** The running forwarders' last words. */
  current(): Iterable<ForwarderReading> {
    return this.#current.values();
  }
}

function settled(reading: ForwarderReading): ForwardersReading {
  const { ledger } = reading;
  const { pending } = ledger;
  const lost =
    pending.bytes + pending.turns === 0 ? ledger.lost : sumOfTallies(ledger.lost, { crash_gap: pending });
  return {
    ...reading,
    open: 0,
    queuedBytes: 0,
    ledger: { ...ledger, unsettledConnections: 0, lost, pending: { bytes: 0, turns: 0 } },
  };
}

function sumOf(past: ForwardersReading, reading: ForwardersReading): ForwardersReading {
  const [a, b] = [past.ledger, reading.ledger];
  return {
    ledger: {
      connections: a.connections + b.connections,
      unsettledConnections: a.unsettledConnections + b.unsettledConnections,
      seen: sumOfTally(a.seen, b.seen),
      recorded: sumOfTally(a.recorded, b.recorded),
      lost: sumOfTallies(a.lost, b.lost),
      omitted: sumOfTallies(a.omitted, b.omitted),
      pending: sumOfTally(a.pending, b.pending),
      exchanges: a.exchanges + b.exchanges,
    },
    open: past.open + reading.open,
    turnedAway: past.turnedAway + reading.turnedAway,
    failed: sumOfCounts(past.failed, reading.failed),
    refused: sumOfCounts(past.refused, reading.refused),
    queuedBytes: past.queuedBytes + reading.queuedBytes,
  };
}

function sumOfTallies(a: Tallies, b: Tallies): Tallies {
  const sum = new Map(Object.entries(a));
  for (const [name, tally] of Object.entries(b)) {
    const known = sum.get(name);
    sum.set(name, known ? sumOfTally(known, tally) : tally);
  }
  return Object.fromEntries(sum);
}

function sumOfTally(a: Readonly<Tally>, b: Readonly<Tally>): Tally {
  return { bytes: a.bytes + b.bytes, turns: a.turns + b.turns };
}

function sumOfCounts(
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Record<string, number> {
  const sum = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}
