import type { ExchangePayload, ExchangeRow } from '../../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { PresentNames, type RowFilter } from '../filter.ts';
import type { ReplayWindow } from './window.ts';

/** Called for every exchange of the windows, selected or not. @param offsetUs on the common time of all windows */
type InWindow = (offsetUs: number) => void;

/** Counts of exchanges read from one window so far, over all passes. */
export interface WindowCount {
  readonly exchanges: number;
  readonly selected: number;
}

interface PlaybackParts {
  readonly source: CaptureSource;
  readonly window: Pick<ReplayWindow, 'fromUs' | 'toUs' | 'parts' | 'loops'>;
  /** Null to replay everything. */
  readonly selection: RowFilter | null;
}

/** Whether several windows or passes follow each other, so that exchanges need a common time. */
export function isSequence({ parts, loops }: Pick<ReplayWindow, 'parts' | 'loops'>): boolean {
  return parts.length > 1 || loops !== 1;
}

/**
 * A capture as it is replayed: without exchanges that the selection leaves out. If windows follow each other or repeat,
 * arrivals are moved onto a common time. The first window keeps its own time.
 */
export class Playback implements CaptureSource {
  readonly #parts: PlaybackParts;
  #counts: { exchanges: number; selected: number }[] = [];
  /** Passes over all windows with at least one replayed exchange. */
  passes = 0;
  #inWindow: InWindow | null = null;
  /** Names in exchanges that the selection left out. */
  readonly leftOut = new PresentNames();

  constructor(parts: PlaybackParts) {
    this.#parts = parts;
  }

  /** Whether exchanges of the windows may be left out. */
  get isSelective(): boolean {
    return this.#parts.selection !== null;
  }

  /** The capture without the selection. */
  get capture(): CaptureSource {
    return this.#parts.source;
  }

  /** Calls `inWindow` from now on for every exchange read from the windows. Does nothing without a selection. */
  hear(inWindow: InWindow): void {
    this.#inWindow = this.#parts.selection === null ? null : inWindow;
  }

  /** Counts by window, in replay order, since the last start. */
  get counts(): readonly WindowCount[] {
    return this.#counts.map((count) => ({ ...count }));
  }

  /** Number of left-out exchanges of the windows. */
  get filtered(): number {
    return this.#counts.reduce((sum, { exchanges, selected }) => sum + exchanges - selected, 0);
  }

  /** The rows of the window, or of another range, whose rows are filtered too but not counted. */
  rows(range: TimeRange = this.#parts.window): IterableIterator<ExchangeRow> {
    const { window } = this.#parts;
    const whole = range.fromUs === window.fromUs && range.toUs === window.toUs;
    return whole ? this.#play() : this.#selected(range);
  }

  /** The rows of a range, without counting; null for each exchange that the selection leaves out. */
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

  /** Replays all passes, at constant memory. Ends early if a whole pass is empty, because it would never end. */
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

  /** The selected rows of one window. A row counts when the next is pulled, because the last may stay unused. */
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

/** Minimum distance of passes without a mean gap: with one arrival, or all arrivals at one instant. */
export const LONE_SEAM_US = 1_000_000;

/**
 * The timeline of windows that are replayed edge to edge. The seam is the silence at the end of one window plus that at
 * the start of the next, but at least one mean gap. So the rate is kept, and windows that begin and end at arrivals
 * have no burst at the seam.
 */
export class Timeline {
  #range: TimeRange | null = null;
  #firstUs = 0;
  /** The last arrival of the pass; null before its first. */
  #lastUs: number | null = null;
  #count = 0;
  /** Offset of the last arrival of all passes; null before the first. */
  #lastOffsetUs: number | null = null;
  /** Silence from that arrival to the begin of this pass. */
  #silenceUs = 0;
  #meanGapUs = LONE_SEAM_US;

  /** Begins a pass over a window. */
  begin(range: TimeRange): void {
    this.#endPass();
    this.#range = range;
    this.#lastUs = null;
    this.#count = 0;
  }

  /** The offset of an arrival of the pass, whole microseconds after the first of all. Call it in order. */
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
    // Never 0, because passes without length would repeat endlessly within one instant.
    this.#meanGapUs = spanUs === 0 ? LONE_SEAM_US : Math.ceil(spanUs / (this.#count - 1));
  }
}
