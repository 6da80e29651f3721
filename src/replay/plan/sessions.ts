import type { ExchangeRow } from '../../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import type { ScalingCounts } from '../../documents/replay.ts';
import type { CaptureOverview } from '../window/capture.ts';

/** A session that was silent for longer has ended; one of the same name is another. */
const SILENCE_S = 1_800;
/** Sessions remembered at once; some 20 MB. */
const REMEMBERED = 100_000;

/** The text a session is looked up by; null for an exchange that stands alone. */
export function sessionName(row: Pick<ExchangeRow, 'session'>): string | null {
  if (row.session === null) return null;
  return Buffer.from(row.session.buffer, row.session.byteOffset, row.session.byteLength).toString('latin1');
}

/**
 * Remembers the decision for each session's first exchange, so the rest of the session is treated alike. With too many
 * sessions, the one that was silent longest is forgotten and counted. If it speaks again, it is decided anew.
 */
export class SessionMemory<T> {
  /** By name; the one that was silent longest first. */
  readonly #known = new Map<string, { readonly decided: T; readonly atUs: number }>();
  /** Goes on where it was: what it has passed is forgotten, or stands behind it again. */
  readonly #oldest = this.#known.keys();
  readonly #bound: number;
  #forgotten = 0;

  constructor(bound = REMEMBERED) {
    this.#bound = bound;
  }

  /** Sessions that had to be forgotten. */
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

/** So many exchanges before a window are looked at, so that it starts at once however busy it was. */
const LOOKBACK_EXCHANGES = 20_000;

/** Which exchanges of a window belong to sessions begun before it: what those said before is not played. */
export class OpenSessions {
  /** Begun before, and whether they were met within the window. */
  readonly #met = new Map<string, boolean>();
  readonly #lookbackMs: number;
  #exchanges = 0;
  #sessions = 0;

  private constructor(lookbackMs: number) {
    this.#lookbackMs = lookbackMs;
  }

  /** Reads what came just before the window; null where the capture knows no sessions. */
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

  /** Takes an exchange of the window. */
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

/** Whole seconds before an instant, as many as hold no more exchanges than are looked at. */
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
