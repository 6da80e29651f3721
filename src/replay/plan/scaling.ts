import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import type { PerturbedPlace } from '../request/copy-identity.ts';
import type { CopyPrompts } from '../request/copy-prompt.ts';
import { BY_CHANCE, type DrawKey, type DrawnLots, drawKeyOf, lotOf, SeededDraws } from './draws.ts';
import { type FixedRate, PoissonInstants } from './rate.ts';
import { SessionMemory, sessionName } from './sessions.ts';
import { RateCurve, type Stage } from './stages.ts';

export const SCALINGS = ['compress', 'amplify', 'superpose', 'thin'] as const;
/** `rate` and `closed` do not reach a multiplier. They are chosen by `--rate` and `--concurrency`. */
export type ScalingName = (typeof SCALINGS)[number] | 'rate' | 'closed';

/**
 * The ways to scale a recording, each with the properties that it keeps, those that it changes, and what it does to the
 * reuse of prompts by a cache.
 */
export const SCALING_KINDS: Readonly<Record<ScalingName, Record<'keeps' | 'bends' | 'reuse', string>>> = {
  compress: {
    keeps: 'order, ties, the shape of the gaps and the payload mix',
    bends: 'think times, session overlap and ramps, which pass faster by the multiplier',
    reuse: 'the same prompts in less time: as many hits, or more, as less is evicted between them',
  },
  amplify: {
    keeps: 'the shape of the day, think times and the order within sessions',
    bends: 'payloads, which repeat; all sessions grow together, so bursts grow with them',
    reuse:
      'more prompts compete for the cache; copies reuse their own turns if they have prompts of their own, and else all of their originals',
  },
  superpose: {
    keeps: 'think times, the order within sessions, and payloads that are all fresh',
    bends: 'bursts, which smooth out where other traffic is laid over the window',
    reuse: 'more different prompts compete for the cache: as many hits, or fewer',
  },
  thin: {
    keeps: 'the shape of the day, think times and whole sessions',
    bends: 'bursts within a second, which fewer sessions make flatter',
    reuse: 'sessions reuse their own turns, and meet what others share less often: as many hits, or fewer',
  },
  closed: {
    keeps: 'order and the payload mix',
    bends: 'all times: a request is sent when another is answered, so that a slow target gets fewer',
    reuse: 'the same prompts in order at other distances in time: hits may be more or fewer',
  },
  rate: {
    keeps: 'order and the payload mix',
    bends:
      'all times: arrivals are a Poisson process of one rate, without the recorded bursts, ramps and think times',
    reuse: 'the same prompts in order at other distances in time: hits may be more or fewer',
  },
};

/**
 * What stages of different multipliers also change in scalings that decide whole sessions: each session uses the
 * multiplier at its first exchange.
 */
export const STAGES_BEND =
  'steps and ramps of the stages, which only sessions that begin meanwhile follow: where sessions are long, late or hardly at all';

/** Why a scaling cannot reach these multipliers; null if it can. */
export function unreachable(name: ScalingName, min: number, max: number): string | null {
  if ((name === 'amplify' || name === 'superpose') && min < 1) return `${name} begins at 1x`;
  if (name === 'thin' && max > 1) return 'thin ends at 1x';
  return null;
}

/**
 * The default scaling: below 1x sessions are left out, above 1x time is compressed. Where requests need values of
 * answers, more load is more sessions: a faster session would only wait for them.
 */
export function defaultScaling(min: number, max: number, awaitsValues = false): ScalingName {
  if (max <= 1 && min < 1) return 'thin';
  return awaitsValues && min >= 1 && max > 1 ? 'amplify' : 'compress';
}

/** How often the sessions of a recording are replayed. */
interface SessionLoad {
  /** Share of the sessions that is replayed. */
  readonly kept: number;
  /** How often each of these is replayed, on average. */
  readonly copies: number;
}

/** The decision for a session, and the exchange that decided it. */
interface Decision extends Pick<ExchangeRow, 'segment' | 'id'> {
  readonly multiplier: number;
}

/** The load of one session, and the lots that decide about it. */
interface SessionChance extends SessionLoad {
  readonly keptLot: number;
  readonly copiesLot: number;
}

/** How the multiplier is reached. Plain data, because it goes to a thread. */
export interface ScalingOptions {
  readonly scaling: ScalingName;
  /** Null if the multiplier is constant. Otherwise the multiplier of each stage is multiplied by it. */
  readonly stages: readonly Stage[] | null;
  /** Size of the target relative to the recorded servers: 0.1 for two replicas of twenty. */
  readonly targetShare: number;
  readonly seed: number;
  /** A fixed rate that replaces the recorded times; null to keep them. */
  readonly rate: FixedRate | null;
  /** The constant number of requests in flight in a closed loop; null if instants are planned. */
  readonly concurrency: number | null;
  /** Copies of a session start up to this much later than the original. */
  readonly jitterMs: number;
  /** Places where copies are changed to differ from their original. */
  readonly perturb: readonly PerturbedPlace[];
  readonly copyPrompts?: CopyPrompts;
}

/** Most copies of one session. More would have little in common with the recording. */
const MAX_COPIES = 1_000;

/** A part of the capture that is shifted onto the window. The first layer is the window itself. */
export interface Layer {
  readonly shiftUs: number;
  /** Exchanges of all earlier layers together (the window included), and of this layer. */
  readonly before: number;
  readonly exchanges: number;
}

/** A window without superposed layers. Its exchanges need not be counted. */
const WINDOW_ALONE: readonly Layer[] = [{ shiftUs: 0, before: 0, exchanges: 1 }];

/**
 * How a window is scaled up or down: when an arrival is replayed, how often its session is replayed, and how far copies
 * are from their original. Deterministic; use one instance for each pass over a window.
 */
export class Scaling {
  readonly options: ScalingOptions & { readonly multiplier: number };
  readonly coverage: number | null;
  readonly curve: RateCurve;
  readonly layers: readonly Layer[];
  readonly draws: SeededDraws;
  readonly drawn: DrawnLots;
  /** Instants that replace the recorded times; null if the recorded times are used. */
  readonly instants: PoissonInstants | null;
  readonly #passesFaster: boolean;
  /** The decisions for sessions, one memory for each layer. Empty if all exchanges of a session get the same anyway. */
  readonly #memories: readonly SessionMemory<Decision>[];

  /**
   * @param coverage recorded share of the seen traffic; null if unknown, which counts as 1
   * @param layers the window itself first; others only if parts of the capture are superposed on it
   * @param drawn weighed lots, so that the drawn sessions have the requested number of requests
   * @throws AppError OPTION_INVALID if sessions would be replayed too often
   */
  constructor(
    options: Scaling['options'],
    coverage: number | null,
    layers = WINDOW_ALONE,
    drawn: DrawnLots = BY_CHANCE,
  ) {
    this.options = options;
    this.drawn = drawn;
    this.coverage = coverage;
    this.layers = layers;
    this.curve = new RateCurve(options.multiplier, options.stages);
    this.draws = new SeededDraws(options.seed);
    this.instants = options.rate && new PoissonInstants(options.rate, options.seed);
    this.#passesFaster = options.scaling === 'compress' || options.rate !== null;
    const varies = !this.#passesFaster && !this.curve.constant;
    this.#memories = varies ? layers.map(() => new SessionMemory<Decision>()) : [];
    const { copies } = this.loadAt(this.curve.max);
    if (copies > MAX_COPIES) {
      throw new AppError(
        'OPTION_INVALID',
        `Every session would be replayed ${copies.toFixed(0)} times; the most is ${MAX_COPIES}`,
        {
          hint: `The capture covers ${(this.#covered * 100).toPrecision(2)} % of the traffic; use a smaller multiplier.`,
        },
      );
    }
  }

  /** Factor that compensates for traffic that was seen but not recorded. */
  get coverageFactor(): number {
    return 1 / this.#covered;
  }

  /**
   * How many sessions a multiplier keeps, and how often it replays each. Coverage, target share and thinning change how
   * many sessions are kept. If more than all are needed, sessions are copied.
   */
  loadAt(multiplier: number): SessionLoad {
    const { scaling, targetShare, rate, concurrency } = this.options;
    // The number of requests does not depend on the recording.
    if (rate !== null || concurrency !== null) return { kept: 1, copies: 1 };
    const wanted = (targetShare / this.#covered) * (scaling === 'thin' ? multiplier : 1);
    const kept = Math.min(1, wanted);
    return { kept, copies: (wanted / kept) * (scaling === 'amplify' ? multiplier : 1) };
  }

  /** Whether any session is repeated or left out. */
  get alters(): boolean {
    return [this.curve.min, this.curve.max].some((multiplier) => {
      const { kept, copies } = this.loadAt(multiplier);
      return kept !== 1 || copies !== 1;
    });
  }

  /** The instant of the run for an instant of the window, whole nanoseconds. */
  offsetNsAt(offsetUs: number): number {
    return this.#passesFaster ? this.curve.offsetNsAt(offsetUs * 1e3) : offsetUs * 1e3;
  }

  /** The end of the stages on the window's time, microseconds; Infinity without stages. */
  get endUs(): number {
    return (this.#passesFaster ? this.curve.playedNs : this.curve.durationNs) / 1e3;
  }

  /** The position in the recording at an instant of the run, microseconds; at most the end of the stages. */
  playedUs(runNs: number): number {
    const playedNs = this.#passesFaster ? this.curve.playedAt(runNs) : runNs;
    return Math.min(playedNs / 1e3, this.endUs);
  }

  /** The fastest pace of time. Only compression changes the pace. */
  get maxPace(): number {
    return this.#passesFaster ? this.curve.max : 1;
  }

  /** The slowest pace of time. */
  get minPace(): number {
    return this.#passesFaster ? this.curve.min : 1;
  }

  /** The longest delay of a copy after its original, on the window's time, microseconds; 0 without copies. */
  get latestCopyUs(): number {
    return this.loadAt(this.curve.max).copies > 1 ? this.options.jitterMs * 1e3 : 0;
  }

  /** The maximum number of recorded seconds that contribute to one second of the run, copies included. */
  get meetingSeconds(): number {
    return this.maxPace + this.latestCopyUs / 1e6;
  }

  /** The largest factor by which the load of a recorded second grows, by pace, copies and layers. */
  get growth(): number {
    return this.maxPace * Math.max(1, this.loadAt(this.curve.max).copies) * this.layers.length;
  }

  /** The mean recorded time per second of the run, over a window of this length. */
  meanPace(windowUs: number): number {
    if (!this.#passesFaster) return 1;
    const spanNs = this.curve.offsetNsAt(windowUs * 1e3);
    return this.curve.constant || spanNs === 0 ? this.curve.multiplierAt(0) : (windowUs * 1e3) / spanNs;
  }

  /**
   * How often an arrival is replayed; 0 if its session is left out. Call it in order of arrival: the first exchange of
   * a session decides.
   */
  timesOf(arrival: Arrival): number {
    const { kept, copies, keptLot, copiesLot } = this.chanceOf(arrival);
    if (kept < 1 && this.drawn.kept[keptLot] !== 1) return 0;
    const whole = Math.floor(copies);
    return copies > whole && this.drawn.copies[copiesLot] === 1 ? whole + 1 : whole;
  }

  /** The load of an arrival's session, by the multiplier at its first exchange. Call it in order of arrival. */
  chanceOf({ row, offsetUs, layer = 0 }: Arrival): SessionChance {
    const multiplier = this.#multiplierFor(row, offsetUs, layer);
    const load = this.loadAt(multiplier);
    const kept = load.kept * this.layerShare(layer, multiplier);
    const { copies } = load;
    const key = drawKeyOf(row);
    return {
      kept,
      copies,
      keptLot: kept < 1 ? lotOf(this.draws.draw(key, 'kept', layer), kept) : 0,
      copiesLot: lotOf(this.draws.draw(key, 'copies', layer), copies - Math.floor(copies)),
    };
  }

  #multiplierFor(row: ExchangeRow, offsetUs: number, layer: number): number {
    const decide = (): number => this.curve.multiplierAt(offsetUs * 1e3);
    const name = this.#memories.length === 0 ? null : sessionName(row);
    if (name === null) return decide();
    const { multiplier } = this.#memories[layer]!.of(
      name,
      offsetUs,
      () => ({ multiplier: decide(), segment: row.segment, id: row.id }),
      ({ segment, id }) => row.id === id && row.segment === segment,
    );
    return multiplier;
  }

  /** The share of a layer's sessions that is needed to multiply the window's exchanges by this multiplier. */
  layerShare(layer: number, multiplier: number): number {
    const load = this.layers[layer];
    if (layer === 0 || load === undefined) return 1;
    const window = this.layers[0]?.exchanges ?? 0;
    return Math.min(1, Math.max(0, (multiplier * window - load.before) / load.exchanges));
  }

  /** The delay of a copy after its original, whole microseconds. It is the same for a whole session. */
  jitterUs(key: DrawKey, layer: number, copy: number): number {
    return Math.floor(this.draws.draw(key, 'jitter', identityOf(layer, copy)) * this.options.jitterMs * 1e3);
  }

  /** Sessions whose decision did not fit into memory. If they continue, they may be decided again. */
  get forgottenSessions(): number {
    return this.#memories.reduce((sum, memory) => sum + memory.forgotten, 0);
  }

  get #covered(): number {
    return this.coverage === null || this.coverage <= 0 ? 1 : Math.min(1, this.coverage);
  }
}

/** Number of an identity under which a recorded session is replayed; 0 is the recorded session itself. */
export function identityOf(layer: number, copy: number): number {
  return layer * (MAX_COPIES + 1) + copy;
}

/** A recorded exchange with its position on the window's time. */
export interface Arrival {
  readonly row: ExchangeRow;
  /** Microseconds after the first arrival of the window. */
  readonly offsetUs: number;
  /** Number of the layer, if parts of the capture are superposed on the window. 0 is the window itself. */
  readonly layer?: number;
}
