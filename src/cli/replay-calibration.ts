import { join } from 'node:path';
import { type Calibration, CalibrationStatistics } from '../analysis/calibration.ts';
import { RunStatistics, totalsOf } from '../analysis/run-statistics.ts';
import { AppError } from '../core/errors.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import type { Run } from '../core/run.ts';
import { countOf, formatInstantUs, formatMs } from '../core/units.ts';
import type { ReplayOptions } from '../replay/options.ts';
import type { Replay, ReplayEnd } from '../replay/replay.ts';
import type { Warmup } from '../replay/warmup.ts';
import { chooseWindow, type ReplayWindow } from '../replay/window.ts';
import { CALIBRATION_DIRECTORY } from '../storage/run-schema.ts';
import { SqliteRunStore } from '../storage/run-store.ts';
import type { ReplayEvents } from './replay-events.ts';
import type { ReplayPlan } from './replay-plan.ts';
import { ReplayProgress } from './replay-progress.ts';
import { forecastFor, scalingOf } from './replay-scaling.ts';
import { playbackOf } from './replay-windows.ts';
import type { Terminal } from './terminal.ts';

/** A calibration with what was played for it: a part of the document. */
export interface CalibrationDocument extends Calibration {
  readonly from: string;
  readonly to: string;
  /** Before the window; else its begin, so that the run repeats these requests. */
  readonly precedesWindow: boolean;
  readonly sent: number;
  readonly failed: number;
}

export interface CalibrationParts {
  /** Of the run it precedes. */
  readonly plan: ReplayPlan;
  readonly warmup: Warmup | null;
  /** The capture as it was opened. */
  readonly capture: CaptureSource;
  readonly replayOf: (plan: ReplayPlan, source: CaptureSource) => Replay;
}

/** Plays some minutes of the recording at 1x and holds the answers against what was recorded for them. */
export class CalibrationPhase {
  readonly plan: ReplayPlan;
  readonly #replay: Replay;
  readonly #precedesWindow: boolean;

  private constructor(plan: ReplayPlan, replay: Replay, precedesWindow: boolean) {
    this.plan = plan;
    this.#replay = replay;
    this.#precedesWindow = precedesWindow;
  }

  /**
   * Plans it; null where it was not asked for. Sends nothing.
   * @throws AppError as `Replay.check`, but for a stretch that holds nothing to send
   */
  static async plan({ plan, warmup, capture, replayOf }: CalibrationParts): Promise<CalibrationPhase | null> {
    const { calibrateMs } = plan.options;
    if (calibrateMs === null) return null;
    const options = atOnce(plan.options);
    const { range, precedes } = stretchFor(plan, warmup, calibrateMs);
    const asked = { ...options.window, ranges: [range], search: null, loops: 1, durationMs: null };
    const window: ReplayWindow = chooseWindow(plan.overview, asked, 1);
    const source = playbackOf(capture, window, options.filters);
    const scaling = scalingOf(options, plan.overview, source, window);
    const forecast = forecastFor(plan.overview, window, scaling);
    const own = { options, overview: plan.overview, window, scaling, forecast };
    const replay = replayOf(own, source);
    try {
      await replay.check();
    } catch (thrown) {
      // It is planned all the same, and says that it compared nothing.
      if (!(thrown instanceof AppError) || thrown.code !== 'CAPTURE_EMPTY') throw thrown;
    }
    return new CalibrationPhase(own, replay, precedes);
  }

  /** Plays it, and keeps its sends below the run's directory. */
  async play(
    runDirectory: string,
    run: Omit<Run, 'startedAtUs' | 'endedAtUs'>,
    signal: AbortSignal,
    output: { readonly terminal: Terminal; readonly events: ReplayEvents | null },
  ): Promise<{ readonly document: CalibrationDocument; readonly planned: number; readonly end: ReplayEnd }> {
    const { window, options } = this.plan;
    const store = new SqliteRunStore(join(runDirectory, CALIBRATION_DIRECTORY));
    const compared = new CalibrationStatistics(options.calibrationBounds);
    const statistics = new RunStatistics();
    const replay = this.#replay;
    output.terminal.note(`Calibration: ${formatMs(window.plannedSpanNs / 1e6)} at 1x`);
    const progress = new ReplayProgress({
      position: () => replay.position(),
      warmupNs: 0,
      plannedNs: window.plannedSpanNs,
      calibrates: true,
      ...output,
    });
    try {
      const { health, end } = await replay
        .run(
          {
            recorded: (row) => statistics.addRecorded(row),
            planned: (row, intendedOffsetNs) => {
              statistics.addPlanned(row, intendedOffsetNs);
              compared.addPlanned(row);
            },
            ended: (sends) => {
              statistics.addSends(sends);
              compared.addSends(sends);
              progress.add(sends);
              store.append(sends);
            },
          },
          signal,
        )
        .finally(() => progress.end());
      const { startedAtUs } = health;
      const times = { startedAtUs, endedAtUs: startedAtUs + Math.round(health.endOffsetNs / 1e3) };
      const totals = totalsOf(statistics.figures(health.stalls));
      const document = this.#document(compared.report(), totals);
      store.seal({ ...run, ...times }, totals, { schemaVersion: 1, kind: 'calibration', ...document });
      output.terminal.note(...calibrationLines(document));
      output.events?.tell({ event: 'calibration', ...document });
      return { document, planned: totals.planned, end };
    } catch (thrown) {
      store.close();
      throw thrown;
    }
  }

  #document(report: Calibration, { sent, failed }: { sent: number; failed: number }): CalibrationDocument {
    const { fromUs, toUs } = this.plan.window;
    const stretch = { from: formatInstantUs(fromUs), to: formatInstantUs(toUs - 1) };
    return { ...report, ...stretch, precedesWindow: this.#precedesWindow, sent, failed };
  }
}

/** Nothing that scales, and nothing that judges; begun as soon as it can be: a start that was set is the run's. */
export function atOnce(options: ReplayOptions): ReplayOptions {
  return {
    ...options,
    ...{
      multiplier: 1,
      stages: null,
      scaling: 'compress',
      perturb: [],
      startAtUs: null,
      sessionOrder: 'open',
      check: null,
    },
  };
}

/**
 * What lies before the window and its warm-up, so that the run meets no cache that was filled with its own requests;
 * where the recording does not go back so far, the begin of the window.
 */
function stretchFor(
  { overview, window }: ReplayPlan,
  warmup: Warmup | null,
  calibrateMs: number,
): { readonly range: TimeRange; readonly precedes: boolean } {
  const lengthUs = Math.round(calibrateMs * 1e3);
  const first = window.parts[0] ?? window;
  const beforeUs = warmup === null ? first.fromUs : warmup.range.fromUs;
  if (beforeUs - lengthUs >= (overview.firstArrivalUs ?? first.fromUs)) {
    return { range: { fromUs: beforeUs - lengthUs, toUs: beforeUs }, precedes: true };
  }
  return {
    range: { fromUs: first.fromUs, toUs: Math.min(first.toUs, first.fromUs + lengthUs) },
    precedes: false,
  };
}

function calibrationLines({ representative, differences, pairs }: CalibrationDocument): string[] {
  if (representative === null)
    return [`  not known: ${countOf(pairs, 'answer')} to hold against the recording`];
  if (representative) return [`  the target answers as was recorded (${countOf(pairs, 'request')})`];
  return [
    `  the target does NOT answer as was recorded (${countOf(pairs, 'request')}): ${differences.join('; ')}`,
    '  the run will be inconclusive unless it breaks an objective',
  ];
}
