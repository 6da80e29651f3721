import type { LedgerReading, Tally } from './ledger.ts';

type Tallies = Readonly<Record<string, Readonly<Tally>>>;

/**
 * The account of a recording over the lives of its forwarders. What one had pending when it died is lost with
 * it (`crash_gap`); what it saw after its last beat nobody knows.
 */
export class LedgerHistory {
  #past: LedgerReading | null = null;
  #current: LedgerReading | null = null;

  /** The running forwarder's account. */
  update(reading: LedgerReading): void {
    this.#current = reading;
  }

  forwarderEnded(): void {
    if (this.#current) this.#past = sumOf(this.#past, settled(this.#current));
    this.#current = null;
  }

  /** Null before the first beat. */
  read(): LedgerReading | null {
    return this.#current ? sumOf(this.#past, this.#current) : this.#past;
  }
}

function settled(reading: LedgerReading): LedgerReading {
  const { pending } = reading;
  const lost =
    pending.bytes + pending.turns === 0 ? reading.lost : sumOfTallies(reading.lost, { crash_gap: pending });
  return { ...reading, openConnections: 0, lost, pending: { bytes: 0, turns: 0 } };
}

function sumOf(past: LedgerReading | null, reading: LedgerReading): LedgerReading {
  if (!past) return reading;
  return {
    connections: past.connections + reading.connections,
    openConnections: past.openConnections + reading.openConnections,
    seen: sumOfTally(past.seen, reading.seen),
    recorded: sumOfTally(past.recorded, reading.recorded),
    lost: sumOfTallies(past.lost, reading.lost),
    omitted: sumOfTallies(past.omitted, reading.omitted),
    pending: sumOfTally(past.pending, reading.pending),
    exchanges: past.exchanges + reading.exchanges,
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
