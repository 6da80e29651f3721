import { join } from 'node:path';
import { CalibrationStatistics } from '../../analysis/run/calibration.ts';
import { RunStatistics, totalsOf } from '../../analysis/run/run-statistics.ts';
import { AppError } from '../../core/errors.ts';
import type { CaptureSource } from '../../core/ports.ts';
import type { Run } from '../../core/run.ts';
import { countOf, formatInstantUs, formatMs } from '../../core/units.ts';
import type { Calibration, CalibrationDocument } from '../../documents/replay.ts';
import type { Replay, ReplayEnd } from '../../replay/run.ts';
import { CALIBRATION_DIRECTORY } from '../../storage/runs/schema.ts';
import { SqliteRunStore } from '../../storage/runs/store.ts';
import type { CalibrationPlan, ReplayPlan } from './plan.ts';
import { ReplayProgress, type ReplayReporter } from './progress.ts';

/** Plays some minutes of the recording at 1x and holds the answers against what was recorded for them. */
export class CalibrationPhase {
  readonly plan: ReplayPlan;
  readonly #replay: Replay;
  readonly #precedesWindow: boolean;

  private constructor({ plan, precedesWindow }: CalibrationPlan, replay: Replay) {
    this.plan = plan;
    this.#replay = replay;
    this.#precedesWindow = precedesWindow;
  }

  /**
   * Makes it ready; null where it was not asked for. Sends nothing.
   * @throws AppError as `Replay.check`, but for a stretch that holds nothing to send
   */
  static async prepare(
    planned: CalibrationPlan | null,
    replayOf: (plan: ReplayPlan, source: CaptureSource) => Replay,
  ): Promise<CalibrationPhase | null> {
    if (planned === null) return null;
    const replay = replayOf(planned.plan, planned.source);
    try {
      await replay.check();
    } catch (thrown) {
      // It is planned all the same, and says that it compared nothing.
      if (!(thrown instanceof AppError) || thrown.code !== 'CAPTURE_EMPTY') throw thrown;
    }
    return new CalibrationPhase(planned, replay);
  }

  /** Plays it, and keeps its sends below the run's directory. */
  async play(
    runDirectory: string,
    run: Omit<Run, 'startedAtUs' | 'endedAtUs'>,
    signal: AbortSignal,
    reporter: ReplayReporter,
  ): Promise<{ readonly document: CalibrationDocument; readonly planned: number; readonly end: ReplayEnd }> {
    const { window, options } = this.plan;
    const store = new SqliteRunStore(join(runDirectory, CALIBRATION_DIRECTORY));
    const compared = new CalibrationStatistics(options.calibrationBounds);
    const statistics = new RunStatistics();
    const replay = this.#replay;
    reporter.note(`Calibration: ${formatMs(window.plannedSpanNs / 1e6)} at 1x`);
    const progress = new ReplayProgress({
      position: () => replay.position(),
      warmupNs: 0,
      plannedNs: window.plannedSpanNs,
      calibrates: true,
      reporter,
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
      const totals = totalsOf(statistics.figures());
      const document = this.#document(compared.report(end.kind !== 'complete'), totals);
      store.seal({ ...run, ...times }, totals, { schemaVersion: 1, kind: 'calibration', ...document });
      reporter.note(...calibrationLines(document));
      reporter.event?.({ event: 'calibration', ...document });
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

function calibrationLines({ representative, differences, pairs }: CalibrationDocument): string[] {
  if (representative === null)
    return [`  not known: ${countOf(pairs, 'answer')} to hold against the recording`];
  if (representative) return [`  the target answers as was recorded (${countOf(pairs, 'request')})`];
  return [
    `  the target does NOT answer as was recorded (${countOf(pairs, 'request')}): ${differences.join('; ')}`,
    '  the run will be inconclusive unless it breaks an objective',
  ];
}
