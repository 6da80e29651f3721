import type { ExchangeRow } from '../../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import type { ScalingCounts } from '../../documents/replay.ts';
import type { CaptureOverview } from '../window/capture.ts';

/** A session that is silent for longer has ended. A later one with the same name is a new session. */
const SILENCE_S = 1_800;
/** Sessions remembered at once, about 20 MB. */
const REMEMBERED = 100_000;

/** The text that identifies a session; null for an exchange without a session. */
export function sessionName(row: Pick<ExchangeRow, 'session'>): string | null {
  if (row.session === null) return null;
  return Buffer.from(row.session.buffer, row.session.byteOffset, row.session.byteLength).toString('latin1');
}

/**
 * Remembers the decision for each session's first exchange, so that the rest of the session is treated in the same way.
 * With too many sessions, the longest silent one is forgotten and counted. If it continues, it is decided again.
 */
export class SessionMemory<T> {
  /** Decisions by name, the longest silent session first. */
  readonly #known = new Map<string, { readonly decided: T; readonly atUs: number }>();
  /** An iterator that continues where it was. Entries that it passed are forgotten, or were added again at the end. */
  readonly #oldest = this.#known.keys();
  readonly #bound: number;
  #forgotten = 0;

  constructor(bound = REMEMBERED) {
    this.#bound = bound;
  }

  /** Number of forgotten sessions. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /**
   * The decision for a session. `decide` makes it at the first exchange, or at the first after a long silence.
   * @param begins whether this is the deciding exchange again, because the window repeats
   */
  of(name: string, atUs: number, decide: () => T, begins: (decided: T) => boolean = () => false): T {
    const known = this.#known.get(name);
    const goesOn = known !== undefined && atUs - known.atUs <= SILENCE_S * 1e6 && !begins(known.decided);
    const decided = goesOn ? known.decided : decide();
    this.#known.delete(name);
    this.#known.set(name, { decided, atUs });
    if (this.#known.size > this.#bound) {
      this.#known.delete(this.#oldest.next().value ?? '');
      this.#forgotten += 1;
    }
    return decided;
  }
}

/** Most exchanges that are read before a window, so that a busy capture also starts at once. */
const LOOKBACK_EXCHANGES = 20_000;

/** Counts exchanges of a window whose sessions began before it. Their earlier exchanges are not replayed. */
export class OpenSessions {
  /** Sessions that began before the window, and whether they were seen in it. */
  readonly #met = new Map<string, boolean>();
  readonly #lookbackMs: number;
  #exchanges = 0;
  #sessions = 0;

  private constructor(lookbackMs: number) {
    this.#lookbackMs = lookbackMs;
  }

  /** Reads the exchanges just before the window; null if the capture has no sessions. */
  static before(overview: CaptureOverview, source: CaptureSource, window: TimeRange): OpenSessions | null {
    if (overview.sessionKeys.length === 0) return null;
    const fromUs = lookbackFromUs(overview, window.fromUs);
    const open = new OpenSessions((window.fromUs - fromUs) / 1e3);
    if (fromUs >= window.fromUs) return open;
    for (const row of source.rows({ fromUs, toUs: window.fromUs })) {
      const name = sessionName(row);
      if (name !== null) open.#met.set(name, false);
    }
    return open;
  }

  /** Adds an exchange of the window. */
  see(row: ExchangeRow): void {
    const name = this.#met.size === 0 ? null : sessionName(row);
    const met = name === null ? undefined : this.#met.get(name);
    if (name === null || met === undefined) return;
    this.#exchanges += 1;
    if (met) return;
    this.#sessions += 1;
    this.#met.set(name, true);
  }

  figures(): NonNullable<ScalingCounts['openedBefore']> {
    return { exchanges: this.#exchanges, sessions: this.#sessions, lookbackMs: this.#lookbackMs };
  }
}

/** The begin of the whole seconds before an instant that have at most the number of exchanges to read. */
function lookbackFromUs(overview: CaptureOverview, windowFromUs: number): number {
  const end = Math.floor(windowFromUs / 1e6);
  const range = { fromUs: (end - SILENCE_S) * 1e6, toUs: windowFromUs };
  const seconds = [...overview.seconds(range)];
  let exchanges = 0;
  let fromUs = Math.max(range.fromUs, Math.min(windowFromUs, overview.firstArrivalUs ?? windowFromUs));
  for (const each of seconds.reverse()) {
    exchanges += each.exchanges;
    if (exchanges > LOOKBACK_EXCHANGES) {
      fromUs = Math.max(fromUs, Math.min(windowFromUs, (each.second + 1) * 1e6));
      break;
    }
  }
  return fromUs;
}
