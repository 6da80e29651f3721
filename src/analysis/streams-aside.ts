import { numberOf, orNull } from '../core/missing-number.ts';
import { NumberRows } from './number-rows.ts';
import type { StreamTimes } from './stream-statistics.ts';

const COLUMNS = 9;
const COMPLETED = 1;
const STOPPED = 2;
/** What `content` says, by its place. */
const CONTENTS = ['some', 'none', 'unread'] as const satisfies readonly StreamTimes['content'][];
/** Gaps lie behind each other in pieces of memory of this size; those of one stream in one piece. */
const PIECE_BYTES = 64 * 1024;

/** What streams that are judged at the end of a run may take until then. */
export interface AsideLimits {
  readonly streams: number;
  /** Of their gaps. */
  readonly bytes: number;
}

/** Streams that are judged at the end of a run, in the order they came: 72 bytes each and their gaps, off the heap. */
export class StreamsAside {
  readonly #limits: AsideLimits;
  readonly #rows = new NumberRows(COLUMNS);
  readonly #pieces: Uint8Array[] = [];
  #pieceUsed = 0;
  #bytes = 0;

  constructor(limits: AsideLimits) {
    this.#limits = limits;
  }

  /** Keeps one. @returns false, and keeps nothing, where no more may be kept */
  add(times: StreamTimes): boolean {
    const gapBytes = times.gaps?.length ?? 0;
    if (this.#rows.length >= this.#limits.streams || this.#bytes + gapBytes > this.#limits.bytes)
      return false;
    this.#rows.push(rowOf(times));
    this.#bytes += gapBytes;
    if (times.gaps !== null) this.#keep(times.gaps);
    return true;
  }

  /** Gives all up that was kept. */
  *takeAll(): Generator<StreamTimes> {
    const pieces = this.#pieces.splice(0);
    this.#bytes = 0;
    let piece = 0;
    let at = 0;
    for (const row of this.#rows.takeAll()) {
      const gapBytes = orNull(row[7]);
      if (gapBytes === null) {
        yield timesIn(row, null);
        continue;
      }
      // The same step as when it was kept.
      if (at + gapBytes > (pieces[piece]?.length ?? 0)) {
        piece += 1;
        at = 0;
      }
      yield timesIn(row, pieces[piece]?.subarray(at, at + gapBytes) ?? new Uint8Array(0));
      at += gapBytes;
    }
  }

  #keep(gaps: Uint8Array): void {
    const last = this.#pieces.at(-1);
    if (last !== undefined && this.#pieceUsed + gaps.length <= last.length) {
      last.set(gaps, this.#pieceUsed);
      this.#pieceUsed += gaps.length;
      return;
    }
    const piece = new Uint8Array(Math.max(PIECE_BYTES, gaps.length));
    piece.set(gaps);
    this.#pieces.push(piece);
    this.#pieceUsed = gaps.length;
  }
}

function rowOf(times: StreamTimes): number[] {
  const flags = (times.completed ? COMPLETED : 0) | (times.stopped ? STOPPED : 0);
  return [
    times.intendedNs,
    times.actualNs,
    times.endNs,
    numberOf(times.firstNs),
    numberOf(times.lastNs),
    numberOf(times.outputTokens),
    flags,
    numberOf(times.gaps?.length ?? null),
    CONTENTS.indexOf(times.content),
  ];
}

function timesIn(row: Float64Array, gaps: Uint8Array | null): StreamTimes {
  const [intendedNs = 0, actualNs = 0, endNs = 0, firstNs, lastNs, outputTokens, flags = 0] = row;
  return {
    completed: (flags & COMPLETED) !== 0,
    stopped: (flags & STOPPED) !== 0,
    intendedNs,
    actualNs,
    endNs,
    firstNs: orNull(firstNs),
    lastNs: orNull(lastNs),
    gaps,
    outputTokens: orNull(outputTokens),
    content: CONTENTS[row[8] ?? 0] ?? 'unread',
  };
}
