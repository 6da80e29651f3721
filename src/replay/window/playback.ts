import type { ExchangePayload, ExchangeRow } from '../../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { PresentNames, type RowFilter } from '../filter.ts';
import type { ReplayWindow } from './window.ts';

/** Told of every exchange of the windows, selected or not, on the time of all of them, microseconds. */
type InWindow = (offsetUs: number) => void;

/** What was read of one window so far, over all passes. */
export interface WindowCount {
  readonly exchanges: number;
  readonly selected: number;
}

interface PlaybackParts {
  readonly source: CaptureSource;
  readonly window: Pick<ReplayWindow, 'fromUs' | 'toUs' | 'parts' | 'loops'>;
  /** Null plays everything. */
  readonly selection: RowFilter | null;
}

/** Whether windows follow each other, so that their exchanges lie on a time of their own. */
export function isSequence({ parts, loops }: Pick<ReplayWindow, 'parts' | 'loops'>): boolean {
  return parts.length > 1 || loops !== 1;
}

/**
 * A capture as it is played: without what the selection leaves out, and, where windows follow each other or are
 * repeated, with the arrivals moved onto one time. The first window keeps its own.
 */
export class Playback implements CaptureSource {
  readonly #parts: PlaybackParts;
  #counts: { exchanges: number; selected: number }[] = [];
  /** Passes over all windows in which at least one exchange was played. */
  passes = 0;
  #inWindow: InWindow | null = null;
  /** Of what the selection left out. */
  readonly leftOut = new PresentNames();

  constructor(parts: PlaybackParts) {
    this.#parts = parts;
  }

  /** Whether something of the windows may be left out. */
  get isSelective(): boolean {
    return this.#parts.selection !== null;
  }

  /** Tells from now on of everything that is read of the window. Costs nothing without a selection. */
  hear(inWindow: InWindow): void {
    this.#inWindow = this.#parts.selection === null ? null : inWindow;
  }

  /** By window, in the order they are played, since it was last begun. */
  get counts(): readonly WindowCount[] {
    return this.#counts.map((count) => ({ ...count }));
  }

  /** Exchanges of the windows that were left out. */
  get filtered(): number {
    return this.#counts.reduce((sum, { exchanges, selected }) => sum + exchanges - selected, 0);
  }

  /** The window, or another stretch of the capture, which is selected from and not counted. */
  rows(range: TimeRange = this.#parts.window): IterableIterator<ExchangeRow> {
    const { window } = this.#parts;
    const whole = range.fromUs === window.fromUs && range.toUs === window.toUs;
    return whole ? this.#play() : this.#selected(range);
  }

  /** A stretch of the windows, counted in no window; null for each exchange that the selection leaves out. */
  *stretch(range: TimeRange): Generator<ExchangeRow | null, void, undefined> {
    for (const row of this.#parts.source.rows(range)) yield this.#isPlayed(row) ? row : null;
  }

  payload(row: ExchangeRow): ExchangePayload | null {
    return this.#parts.source.payload(row);
  }

  close(): void {
    this.#parts.source.close();
  }

  *#selected(range: TimeRange): Generator<ExchangeRow, void, undefined> {
    const { source, selection } = this.#parts;
    for (const row of source.rows(range)) if (selection === null || selection(row)) yield row;
  }

  #isPlayed(row: ExchangeRow): boolean {
    const { selection } = this.#parts;
    if (selection === null || selection(row)) return true;
    this.leftOut.add(row);
    return false;
  }

  /** To its end, at constant memory; early where a whole pass holds nothing, because it would never end. */
  *#play(): Generator<ExchangeRow, void, undefined> {
    const { parts, loops } = this.#parts.window;
    this.#counts = parts.map(() => ({ exchanges: 0, selected: 0 }));
    this.passes = 0;
    const time = new Timeline();
    let firstUs: number | null = null;
    const everything = new Timeline();
    for (let pass = 0; loops === null || pass < loops; pass += 1) {
      for (const [at, range] of parts.entries()) {
        time.begin(range);
        everything.begin(range);
        for (const row of this.#counted(range, at, everything)) {
          firstUs ??= row.arrivalUs;
          // The first window keeps its own time.
          const arrivalUs = firstUs + time.place(row.arrivalUs);
          yield arrivalUs === row.arrivalUs ? row : { ...row, arrivalUs, recordedUs: row.arrivalUs };
          this.passes = pass + 1;
        }
      }
      if (this.passes <= pass) return;
    }
  }

  /** What is selected of one window. A row counts when the one after it is asked for: the last may stay unused. */
  *#counted(range: TimeRange, at: number, everything: Timeline): Generator<ExchangeRow, void, undefined> {
    const count = this.#counts[at];
    if (count === undefined) return;
    let leftOut = 0;
    for (const row of this.#parts.source.rows(range)) {
      this.#inWindow?.(everything.place(row.arrivalUs));
      if (!this.#isPlayed(row)) {
        leftOut += 1;
        continue;
      }
      yield row;
      count.exchanges += leftOut + 1;
      count.selected += 1;
      leftOut = 0;
    }
    count.exchanges += leftOut;
  }
}

/** At least so far apart are passes where there is no mean gap: one arrival, or all at one instant. */
export const LONE_SEAM_US = 1_000_000;

/**
 * The timeline of windows that are played one after the other, edge to edge. The seam is the silence at the end of the
 * first plus that at the start of the next, and at least one mean gap. So the rate is kept, and windows that were cut
 * at their arrivals get no burst at the seam.
 */
export class Timeline {
  #range: TimeRange | null = null;
  #firstUs = 0;
  /** Of the pass; null before its first arrival. */
  #lastUs: number | null = null;
  #count = 0;
  /** Where the last arrival of all lies; null before it. */
  #lastOffsetUs: number | null = null;
  /** Since that arrival, up to the begin of this pass. */
  #silenceUs = 0;
  #meanGapUs = LONE_SEAM_US;

  /** Begins a pass over a window. */
  begin(range: TimeRange): void {
    this.#endPass();
    this.#range = range;
    this.#lastUs = null;
    this.#count = 0;
  }

  /** Where an arrival of the pass lies, whole microseconds after the first of all; to be asked in order. */
  place(arrivalUs: number): number {
    const offsetUs = this.#offsetOf(arrivalUs);
    this.#lastUs = arrivalUs;
    this.#lastOffsetUs = offsetUs;
    this.#count += 1;
    return offsetUs;
  }

  #offsetOf(arrivalUs: number): number {
    if (this.#lastUs !== null) return (this.#lastOffsetUs ?? 0) + arrivalUs - this.#lastUs;
    this.#firstUs = arrivalUs;
    if (this.#lastOffsetUs === null) return 0;
    const leadUs = arrivalUs - (this.#range?.fromUs ?? arrivalUs);
    return this.#lastOffsetUs + Math.max(this.#meanGapUs, this.#silenceUs + leadUs);
  }

  #endPass(): void {
    if (this.#range === null) return;
    const { fromUs, toUs } = this.#range;
    if (this.#lastUs === null) {
      this.#silenceUs += toUs - fromUs;
      return;
    }
    this.#silenceUs = toUs - this.#lastUs;
    const spanUs = this.#lastUs - this.#firstUs;
    // Never nothing: passes without length would repeat for ever within one instant.
    this.#meanGapUs = spanUs === 0 ? LONE_SEAM_US : Math.ceil(spanUs / (this.#count - 1));
  }
}
