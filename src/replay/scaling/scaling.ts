import { AppError } from '../../core/errors.ts';
import type { PerturbedPlace } from '../perturbation.ts';
import { RateCurve, type Stage } from '../stages.ts';
import { CopyCount, type LayerLoad, type SessionLoad, sessionLoad } from './copy-count.ts';
import { type DrawKey, SeededDraws } from './draws.ts';
import type { ScalingName } from './kinds.ts';

/** How the multiplier is reached. Plain data: it travels to a thread. */
export interface ScalingOptions {
  readonly scaling: ScalingName;
  /** Null where the multiplier holds throughout; else each stage's is multiplied by it. */
  readonly stages: readonly Stage[] | null;
  /** What the target is of what was recorded: 0.1 for two replicas of twenty. */
  readonly targetShare: number;
  readonly seed: number;
  /** Copies of sessions begin up to so much after what they are copies of. */
  readonly jitterMs: number;
  /** Where copies are made to differ from what they are copies of. */
  readonly perturb: readonly PerturbedPlace[];
}

/** More copies of one session than this are no longer a recording. */
const MAX_COPIES = 1_000;

/** A stretch of the capture that is laid over the window, so many microseconds from it. */
export interface Layer extends LayerLoad {
  readonly shiftUs: number;
}

export interface ScalingParts {
  readonly options: ScalingOptions & { readonly multiplier: number };
  /** Recorded share of what was seen; null where it is not known, and then taken for all of it. */
  readonly coverage: number | null;
  /** The window itself first; more than one only where stretches are laid over it. */
  readonly layers?: readonly Layer[];
}

/** Stands for a window that nothing is laid over and whose exchanges nobody had to count. */
const WINDOW_ALONE: readonly Layer[] = [{ shiftUs: 0, before: 0, exchanges: 1 }];

/**
 * How more or less than what was recorded is made of a window: where in the run an arrival is played, how often
 * its session is, and how far copies lie from what they repeat. Pure; one for each pass over a window.
 */
export class Scaling {
  readonly options: ScalingOptions & { readonly multiplier: number };
  readonly coverage: number | null;
  readonly curve: RateCurve;
  readonly layers: readonly Layer[];
  readonly draws: SeededDraws;
  readonly #counts: CopyCount;

  /** @throws AppError OPTION_INVALID where sessions would have to be played too often */
  constructor({ options, coverage, layers = WINDOW_ALONE }: ScalingParts) {
    this.options = options;
    this.coverage = coverage;
    this.layers = layers;
    this.curve = new RateCurve(options.multiplier, options.stages);
    this.draws = new SeededDraws(options.seed);
    this.#counts = new CopyCount({
      scaling: options.scaling,
      curve: this.curve,
      targetShare: options.targetShare,
      coverage: this.#covered,
      layers,
      draws: this.draws,
    });
    const { copies } = this.loadAt(this.curve.max);
    if (copies > MAX_COPIES) {
      throw new AppError(
        'OPTION_INVALID',
        `Every session would be played ${copies.toFixed(0)} times; the most is ${MAX_COPIES}`,
        {
          hint: `The capture covers ${(this.#covered * 100).toPrecision(2)} % of what was seen; ask for a smaller multiplier.`,
        },
      );
    }
  }

  /** How much more than what was recorded makes up for what was seen and is not there. */
  get coverageFactor(): number {
    return 1 / this.#covered;
  }

  /** What sessions are asked for while this multiplier holds. */
  loadAt(multiplier: number): SessionLoad {
    const { scaling, targetShare } = this.options;
    return sessionLoad(scaling, multiplier, { targetShare, coverage: this.#covered });
  }

  /** Whether anything is played twice, or left out. */
  get alters(): boolean {
    return [this.curve.min, this.curve.max].some((multiplier) => {
      const { kept, copies } = this.loadAt(multiplier);
      return kept !== 1 || copies !== 1;
    });
  }

  /** Where in the run an instant of the window lies, whole nanoseconds. */
  offsetNsAt(offsetUs: number): number {
    return this.options.scaling === 'compress' ? this.curve.offsetNsAt(offsetUs * 1e3) : offsetUs * 1e3;
  }

  /** Where the stages end on the window's own time, microseconds; infinite without stages. */
  get endUs(): number {
    return (this.options.scaling === 'compress' ? this.curve.playedNs : this.curve.durationNs) / 1e3;
  }

  /** How far into the recording a run is after so many nanoseconds, microseconds; no farther than the stages. */
  playedUs(runNs: number): number {
    const playedNs = this.options.scaling === 'compress' ? this.curve.playedAt(runNs) : runNs;
    return Math.min(playedNs / 1e3, this.endUs);
  }

  /** The fastest that time passes: only compression changes that. */
  get maxPace(): number {
    return this.options.scaling === 'compress' ? this.curve.max : 1;
  }

  /** The slowest. */
  get minPace(): number {
    return this.options.scaling === 'compress' ? this.curve.min : 1;
  }

  /** How long after what it repeats a copy may come, on the window's own time, microseconds; 0 where nothing is repeated. */
  get latestCopyUs(): number {
    return this.loadAt(this.curve.max).copies > 1 ? this.options.jitterMs * 1e3 : 0;
  }

  /** The most recorded seconds of which a second of the run may hold something, copies included. */
  get meetingSeconds(): number {
    return this.maxPace + this.latestCopyUs / 1e6;
  }

  /** The most that a second of the recording becomes, in a pace, in copies and in layers. */
  get growth(): number {
    return this.maxPace * Math.max(1, this.loadAt(this.curve.max).copies) * this.layers.length;
  }

  /** Recorded time played in a second of the run, over a window so long. */
  meanPace(windowUs: number): number {
    if (this.options.scaling !== 'compress') return 1;
    const spanNs = this.curve.offsetNsAt(windowUs * 1e3);
    return this.curve.constant || spanNs === 0 ? this.curve.multiplierAt(0) : (windowUs * 1e3) / spanNs;
  }

  /** How often an arrival is played, 0 for not at all. To be asked in order of arrival. */
  timesOf = (...args: Parameters<CopyCount['of']>): number => this.#counts.of(...args);

  /** Share of a layer's sessions that is played while this multiplier holds. */
  layerShare(layer: number, multiplier: number): number {
    return this.#counts.layerShare(layer, multiplier);
  }

  /** How far a copy lies behind what it repeats, the same for a whole session, whole microseconds. */
  jitterUs(key: DrawKey, layer: number, copy: number): number {
    return Math.floor(this.draws.draw(key, 'jitter', identityOf(layer, copy)) * this.options.jitterMs * 1e3);
  }

  /** Sessions whose decision did not fit into memory. */
  get forgottenSessions(): number {
    return this.#counts.forgotten;
  }

  get #covered(): number {
    return this.coverage === null || this.coverage <= 0 ? 1 : Math.min(1, this.coverage);
  }
}

/** Tells apart everybody that one recorded session is played as; 0 is the recorded session itself. */
export function identityOf(layer: number, copy: number): number {
  return layer * (MAX_COPIES + 1) + copy;
}
