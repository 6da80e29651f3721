import type { Counted, LossReason, OmissionCause, Progress } from '../../core/accounting.ts';

/** An amount in the two units of the equation. */
interface Tally {
  bytes: number;
  turns: number;
}

/** seen = recorded + lost + omitted + pending, exact in bytes and in turns at every call. */
export interface CountersReading {
  readonly connections: number;
  /** Those of them that are open, or closed but not completely acknowledged. */
  readonly unsettledConnections: number;
  readonly seen: Readonly<Tally>;
  readonly recorded: Readonly<Tally>;
  readonly lost: Readonly<Partial<Record<LossReason, Counted>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, Counted>>>;
  readonly pending: Readonly<Tally>;
  /** Exchanges that the recorder reported as committed. */
  readonly exchanges: number;
}

/** What the border to the traffic counts by itself. */
export interface Passed {
  bytes: number;
  /** Turns that began with an exception, or on a connection without a tap. */
  missedTurns: number;
}

/** The term of the equation that bytes finally belong to, with its reason. */
export type Fate =
  | { readonly kind: 'recorded'; readonly because: null }
  | { readonly kind: 'lost'; readonly because: LossReason }
  | { readonly kind: 'omitted'; readonly because: OmissionCause };

/** What a dead recorder had not acknowledged, and what had been recorded until then. */
interface Doubt {
  readonly unsettled: Tally;
  readonly recorded: Progress;
}

/** A shed stretch between bytes that are not settled yet. Its bytes were counted when they were shed. */
interface Shed {
  readonly fate: Fate;
  clientEndOffset: number;
  serverEndOffset: number;
  bytes: number;
}

/** The proxy's counts: running totals, and the accounts of connections with pending bytes. */
export class Counters {
  readonly #accounts = new Set<ConnectionAccount>();
  /** Everything that passed. */
  readonly seen: Tally = { bytes: 0, turns: 0 };
  /** The part of `seen` that exceptions kept from being counted as it passed. */
  #missedTurns = 0;
  readonly #recorded: Tally = { bytes: 0, turns: 0 };
  readonly #lost: Partial<Record<LossReason, CountedTally>> = {};
  readonly #omitted: Partial<Record<OmissionCause, CountedTally>> = {};
  #doubt: Doubt | null = null;
  #connections = 0;
  #exchanges = 0;
  /** Turn count at which `#notice` is called. */
  #noticeAtTurns = Number.POSITIVE_INFINITY;
  #notice: () => void = () => undefined;

  open(): ConnectionAccount {
    const account = new ConnectionAccount(this);
    this.#accounts.add(account);
    this.#connections += 1;
    return account;
  }

  retire(account: ConnectionAccount): void {
    this.#accounts.delete(account);
  }

  addExchanges(count: number): void {
    this.#exchanges += count;
  }

  /**
   * The recorder died, and its last commit may have succeeded. This amount is neither recorded nor lost until the next
   * recorder has read how far it came.
   */
  addDoubt({ bytes, turns }: Readonly<Tally>): void {
    if (bytes + turns === 0) return;
    this.#doubt ??= {
      unsettled: { bytes: 0, turns: 0 },
      recorded: { ...this.#recorded, exchanges: this.#exchanges },
    };
    add(this.#doubt.unsettled, bytes, turns);
  }

  /**
   * Settles the amount in doubt: the part that the capture holds is recorded, the rest is lost.
   * @param committed total in the capture since the recording began; null if unknown
   */
  resolveDoubt(committed: Progress | null, because: LossReason = 'writer_down'): void {
    const doubt = this.#doubt;
    this.#doubt = null;
    if (doubt === null) return;
    const { unsettled, recorded } = doubt;
    const late = (now: number, then: number, most: number) => Math.min(Math.max(0, now - then), most);
    const bytes = late(committed?.bytes ?? 0, recorded.bytes, unsettled.bytes);
    const turns = late(committed?.turns ?? 0, recorded.turns, unsettled.turns);
    this.settle({ kind: 'recorded', because: null }, bytes, turns);
    this.#exchanges += Math.max(0, (committed?.exchanges ?? 0) - recorded.exchanges);
    const lost = { bytes: unsettled.bytes - bytes, turns: unsettled.turns - turns };
    this.settle({ kind: 'lost', because }, lost.bytes, lost.turns);
  }

  see(bytes: number, turns: number): void {
    add(this.seen, bytes, turns);
    if (this.seen.turns < this.#noticeAtTurns) return;
    this.#noticeAtTurns = Number.POSITIVE_INFINITY;
    this.#notice();
  }

  /** Calls `notice` once, when this many turns have been seen since the recording began. */
  noticeAt(turns: number, notice: () => void): void {
    this.#noticeAtTurns = turns;
    this.#notice = notice;
  }

  /** @param exchanges number of known exchanges */
  settle(fate: Fate, bytes: number, turns: number, exchanges = 0): void {
    if (fate.kind === 'recorded') add(this.#recorded, bytes, turns);
    else if (bytes + turns + exchanges > 0) {
      const tally =
        fate.kind === 'lost' ? tallyOf(this.#lost, fate.because) : tallyOf(this.#omitted, fate.because);
      add(tally, bytes, turns);
      tally.exchanges += Math.max(turns, exchanges);
    }
  }

  /**
   * After an exception something may not have been counted. Everything that passed is seen, and what no other term
   * contains has this fate.
   */
  settleRest({ bytes, missedTurns }: Readonly<Passed>, fate: Fate): void {
    this.seen.bytes = bytes;
    this.seen.turns += missedTurns - this.#missedTurns;
    this.#missedTurns = missedTurns;
    const { recorded, lost, omitted, pending } = this.read();
    const rest = { ...this.seen };
    for (const { bytes, turns } of [recorded, pending, ...Object.values(lost), ...Object.values(omitted)])
      add(rest, -bytes, -turns);
    this.settle(fate, Math.max(0, rest.bytes), Math.max(0, rest.turns));
  }

  read(): CountersReading {
    const pending: Tally = { bytes: 0, turns: 0, ...this.#doubt?.unsettled };
    for (const account of this.#accounts) {
      const own = account.pending();
      add(pending, own.bytes, own.turns);
    }
    return {
      connections: this.#connections,
      unsettledConnections: this.#accounts.size,
      seen: { ...this.seen },
      recorded: { ...this.#recorded },
      lost: structuredClone(this.#lost),
      omitted: structuredClone(this.#omitted),
      pending,
      exchanges: this.#exchanges,
    };
  }
}

function add(tally: Tally, bytes: number, turns: number): void {
  tally.bytes += bytes;
  tally.turns += turns;
}

interface CountedTally extends Tally {
  exchanges: number;
}

function tallyOf<Key extends string>(tallies: Partial<Record<Key, CountedTally>>, key: Key): CountedTally {
  const tally = tallies[key] ?? { bytes: 0, turns: 0, exchanges: 0 };
  tallies[key] = tally;
  return tally;
}

/**
 * One connection's side of the equation. Pending is counted from the bytes and turns that are not settled yet. It is
 * never computed as the remainder.
 */
export class ConnectionAccount {
  readonly #counters: Counters;
  seenClient = 0;
  seenServer = 0;
  #settledClient = 0;
  #settledServer = 0;
  /** Client offsets at which the unsettled turns begin. */
  #turnStarts: number[] = [];
  readonly #shed: Shed[] = [];
  #openShed: Shed | null = null;
  #shedBytes = 0;

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  see(clientBytes: number, serverBytes: number, turnStart: boolean): void {
    this.#openShed = null;
    if (turnStart) this.#beginTurn();
    this.seenClient += clientBytes;
    this.seenServer += serverBytes;
    this.#counters.see(clientBytes + serverBytes, turnStart ? 1 : 0);
  }

  /**
   * Counts bytes that do not go to the recorder at once, with their fate. Consecutive bytes with the same fate are one
   * stretch. No settlement ends within a stretch.
   */
  seeSettled(clientBytes: number, serverBytes: number, turnStart: boolean, fate: Fate): void {
    const bytes = clientBytes + serverBytes;
    const turns = turnStart ? 1 : 0;
    this.seenClient += clientBytes;
    this.seenServer += serverBytes;
    if (this.#openShed?.fate !== fate) {
      this.#openShed = { fate, clientEndOffset: 0, serverEndOffset: 0, bytes: 0 };
      this.#shed.push(this.#openShed);
    }
    const stretch = this.#openShed;
    stretch.clientEndOffset = this.seenClient;
    stretch.serverEndOffset = this.seenServer;
    stretch.bytes += bytes;
    this.#shedBytes += bytes;
    // Comes last: after an exception, what this account knows must not be counted again.
    this.#counters.see(bytes, turns);
    this.#counters.settle(fate, bytes, turns);
  }

  /** Takes a settlement of everything up to two offsets. Shed bytes within it are already counted. */
  settle(fate: Fate, clientEndOffset: number, serverEndOffset: number, exchanges = 0): void {
    const { bytes, turns } = this.#take(clientEndOffset, serverEndOffset);
    this.#counters.settle(fate, bytes, turns, exchanges);
  }

  /** Removes the pending amount up to two offsets, and returns it. */
  #take(clientEndOffset: number, serverEndOffset: number): Tally {
    let bytes = clientEndOffset - this.#settledClient + (serverEndOffset - this.#settledServer);
    let turns = 0;
    while (this.#turnStarts.length > 0 && (this.#turnStarts[0] as number) < clientEndOffset) {
      this.#turnStarts.shift();
      turns += 1;
    }
    for (let first = this.#shed[0]; first !== undefined; first = this.#shed[0]) {
      if (first.clientEndOffset > clientEndOffset || first.serverEndOffset > serverEndOffset) break;
      this.#shed.shift();
      if (first === this.#openShed) this.#openShed = null;
      this.#shedBytes -= first.bytes;
      bytes -= first.bytes;
    }
    this.#settledClient = clientEndOffset;
    this.#settledServer = serverEndOffset;
    return { bytes, turns };
  }

  /** In V8 an array that grows gets room for seventeen entries at once. Most have one entry until a commit. */
  #beginTurn(): void {
    if (this.#turnStarts.length === 0) this.#turnStarts = [this.seenClient];
    else this.#turnStarts.push(this.seenClient);
  }

  /** Settles everything pending with a fate that this side decides: time ran out. */
  settleAll(fate: Fate): void {
    this.settle(fate, this.seenClient, this.seenServer);
  }

  /** The recorder died. What it had not acknowledged is in doubt if it may have committed, and lost otherwise. */
  recorderGone(mayHaveCommitted: boolean): void {
    const unsettled = this.#take(this.seenClient, this.seenServer);
    if (mayHaveCommitted) this.#counters.addDoubt(unsettled);
    else this.#counters.settle({ kind: 'lost', because: 'writer_down' }, unsettled.bytes, unsettled.turns);
  }

  pending(): Tally {
    const unsettled = this.seenClient - this.#settledClient + (this.seenServer - this.#settledServer);
    return { bytes: unsettled - this.#shedBytes, turns: this.#turnStarts.length };
  }
}
