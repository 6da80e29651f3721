import { AppError } from '../../core/errors.ts';
import { parseMultiplier, parsePositiveMs, refused } from '../../core/units.ts';

/** A part of the run with one multiplier, or with one that changes linearly. */
export interface Stage {
  /** Length in the run, not in the recording. */
  readonly durationMs: number;
  readonly from: number;
  readonly to: number;
}

/** Most stages: few enough to be searched for every request. */
const MAX_STAGES = 1_000;
const STAGE_HINT = 'Write TIME@MULTIPLIER, such as 10m@1x, or 5m@1x..2x for a ramp.';

/**
 * Parses `10m@1x,5m@1x..2x,30s@4x`: consecutive steps and ramps.
 * @throws AppError OPTION_INVALID naming the invalid stage
 */
export function parseStages(text: string): readonly Stage[] {
  const parts = text.split(',');
  if (parts.length > MAX_STAGES) {
    throw new AppError('OPTION_INVALID', `--stages: ${parts.length} are more than ${MAX_STAGES}`);
  }
  return parts.map(parseStage);
}

function parseStage(text: string): Stage {
  const [duration = '', multipliers, ...rest] = text.split('@');
  const [from = '', to = from, ...more] = (multipliers ?? '').split('..');
  if (multipliers === undefined || from === '' || to === '' || rest.length + more.length > 0) {
    throw refused('--stages', text, 'is not a stage', STAGE_HINT);
  }
  if (/^[\d.]+x$/.test(duration)) throw refused('--stages', text, 'has its multiplier first', STAGE_HINT);
  return {
    durationMs: parsePositiveMs(duration, '--stages'),
    from: parseMultiplier(from, '--stages'),
    to: parseMultiplier(to, '--stages'),
  };
}

/** A stage as text for the command line. */
export function stageText({ durationMs, from, to }: Stage): string {
  return `${durationMs / 1e3}s@${from}x${to === from ? '' : `..${to}x`}`;
}

/** The end of each stage, nanoseconds after the start of the first; empty without stages. */
export function stageEndsOf(stages: readonly Stage[] | null): number[] {
  let endNs = 0;
  return (stages ?? []).map(({ durationMs }) => {
    endNs += durationMs * 1e6;
    return endNs;
  });
}

interface Piece {
  readonly startNs: number;
  readonly durationNs: number;
  /** The position in the recording when the stage begins: the integral of the multiplier. */
  readonly playedNs: number;
  readonly from: number;
  readonly to: number;
}

/**
 * The multiplier as a function of the run's time, its integral (the position in the recording at this pace), and the
 * inverse of the integral. Exact for steps. The integral of a ramp is a parabola, solved without cancellation.
 */
export class RateCurve {
  readonly #pieces: readonly Piece[];
  readonly max: number;
  readonly min: number;
  /** Length of all stages, nanoseconds; Infinity for a constant multiplier. */
  readonly durationNs: number;
  /** Length of the recording that all stages replay at their pace, nanoseconds. */
  readonly playedNs: number;

  /** @param stages null if `multiplier` is constant; otherwise each stage is multiplied by it */
  constructor(multiplier: number, stages: readonly Stage[] | null) {
    const all = stages ?? [{ durationMs: Number.POSITIVE_INFINITY, from: 1, to: 1 }];
    const pieces: Piece[] = [];
    let startNs = 0;
    let playedNs = 0;
    for (const { durationMs, from, to } of all) {
      const piece = {
        startNs,
        durationNs: durationMs * 1e6,
        playedNs,
        from: from * multiplier,
        to: to * multiplier,
      };
      pieces.push(piece);
      startNs += piece.durationNs;
      playedNs += (piece.durationNs * (piece.from + piece.to)) / 2;
    }
    this.#pieces = pieces;
    this.durationNs = startNs;
    this.playedNs = playedNs;
    const values = pieces.flatMap(({ from, to }) => [from, to]);
    this.max = values.reduce((most, each) => Math.max(most, each), 0);
    this.min = values.reduce((least, each) => Math.min(least, each), Number.POSITIVE_INFINITY);
  }

  /** Whether the multiplier is constant. */
  get constant(): boolean {
    return this.max === this.min;
  }

  /** The multiplier at an instant of the run; after the last stage, its final multiplier. */
  multiplierAt(offsetNs: number): number {
    const piece = this.#last((each) => each.startNs <= offsetNs);
    if (piece.to === piece.from) return piece.from;
    const share = Math.min(1, (offsetNs - piece.startNs) / piece.durationNs);
    return piece.from + (piece.to - piece.from) * share;
  }

  /** The position in the recording at an instant of the run: the integral of the multiplier, nanoseconds. */
  playedAt(offsetNs: number): number {
    const piece = this.#last((each) => each.startNs <= offsetNs);
    const sinceNs = offsetNs - piece.startNs;
    const rampNs = Math.min(sinceNs, piece.durationNs);
    if (piece.to === piece.from) return piece.playedNs + sinceNs * piece.from;
    const slope = (piece.to - piece.from) / piece.durationNs;
    return piece.playedNs + rampNs * (piece.from + (slope * rampNs) / 2) + (sinceNs - rampNs) * piece.to;
  }

  /**
   * The instant of the run for a position in the recording.
   * @returns whole nanoseconds, rounded once, so that equal arrivals stay equal, order is kept and errors do not add
   *   up. Exact below 104 days
   */
  offsetNsAt(playedNs: number): number {
    const piece = this.#last((each) => each.playedNs <= playedNs);
    const sinceNs = playedNs - piece.playedNs;
    if (piece.to === piece.from) return Math.round(piece.startNs + sinceNs / piece.from);
    const slope = (piece.to - piece.from) / piece.durationNs;
    const root = Math.sqrt(Math.max(0, piece.from ** 2 + 2 * slope * sinceNs));
    const rampNs = (2 * sinceNs) / (piece.from + root);
    if (rampNs <= piece.durationNs) return Math.round(piece.startNs + rampNs);
    // Only after the last stage: the rest continues at its final pace.
    const rampedNs = (piece.durationNs * (piece.from + piece.to)) / 2;
    return Math.round(piece.startNs + piece.durationNs + (sinceNs - rampedNs) / piece.to);
  }

  /** The last piece for which `begun` is true; the first if there is none. */
  #last(begun: (piece: Piece) => boolean): Piece {
    let low = 0;
    let high = this.#pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (begun(this.#pieces[middle]!)) low = middle;
      else high = middle - 1;
    }
    return this.#pieces[low]!;
  }
}
