import type { Clock } from '../core/clock.ts';
import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, Logger } from '../core/ports.ts';
import type { CheckedSend, Send } from '../core/run.ts';
import type { CaptureOverview } from './capture-overview.ts';
import type { CreateChecker } from './check/checker-thread.ts';
import type { Engine, EngineOptions } from './engine/engine.ts';
import type { Forecast } from './forecast.ts';
import type { ResolveHost } from './guards.ts';
import type { ReplayOptions } from './options/replay-options.ts';
import type { WholePlanListener } from './plan.ts';
import type { Scaling } from './scaling/scaling.ts';
import type { Target } from './target.ts';
import type { Warmup } from './warmup.ts';
import type { ReplayWindow } from './window.ts';

/** Told of everything that happens, on the calling thread and in batches. */
export interface ReplayListener {
  /** An exchange of the window, whether it will be replayed or not, in order of arrival. */
  recorded(row: ExchangeRow): void;
  /** In the order of the schedule, less the warm-up. */
  planned(row: ExchangeRow, intendedOffsetNs: number): void;
  /** What became of planned sends, in any order, each once. */
  ended(sends: readonly Send[]): void;
  /** How answers compare whose sends were told of before; with `check` in the options. */
  checked?(sends: readonly CheckedSend[]): void;
  /** Of a shard: told of the plan of all of them. */
  readonly whole?: WholePlanListener | undefined;
}

export interface ReplayParts {
  readonly runId: string;
  readonly options: ReplayOptions;
  readonly target: Target;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
  /** Played before the window; null or left out for none. */
  readonly warmup?: Warmup | null;
  readonly source: CaptureSource;
  readonly createEngine: (options: EngineOptions) => Engine;
  /** Begins what compares answers; asked for only where the options say so. */
  readonly createChecker?: CreateChecker;
  readonly resolveHost: ResolveHost;
  /** Between two looks at what the target's name means; 5 s where left out. */
  readonly watchTargetMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
}
