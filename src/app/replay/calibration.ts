import { join } from 'node:path';
import { CalibrationStatistics } from '../../analysis/run/calibration.ts';
import { RunStatistics, totalsOf } from '../../analysis/run/run-statistics.ts';
import { AppError } from '../../core/errors.ts';
import type { CaptureSource } from '../../core/ports.ts';
import type { Run } from '../../core/run.ts';
import { countOf, formatInstantUs, formatMs } from '../../core/units.ts';
import type { CalibrationDocument } from '../../documents/replay.ts';
import type { Replay, ReplayEnd } from '../../replay/run.ts';
import { CALIBRATION_DIRECTORY } from '../../storage/runs/schema.ts';
import { SqliteRunStore } from '../../storage/runs/store.ts';
import type { CalibrationPlan, ReplayPlan } from './plan.ts';
import { ReplayProgress, type ReplayReporter } from './progress.ts';

/**
 * Prepares a calibration. Sends nothing.
 * @throws AppError as `Replay.check` does, except for a part without requests
 */
export async function readyCalibration(
  { plan, source }: CalibrationPlan,
  replayOf: (plan: ReplayPlan, source: CaptureSource) => Replay,
): Promise<Replay> {
  const replay = replayOf(plan, source);
  try {
    await replay.check();
  } catch (thrown) {
    // It is planned nevertheless, and reports that nothing was compared.
    if (!(thrown instanceof AppError) || thrown.code !== 'CAPTURE_EMPTY') throw thrown;
  }
  return replay;
}

/**
 * Replays some minutes of the recording at 1x and compares the answers with the recorded ones. Keeps its sends in a
 * subdirectory of the run.
 */
export async function playCalibration(
  { plan, precedesWindow }: CalibrationPlan,
  replay: Replay,
  runDirectory: string,
  run: Omit<Run, 'startedAtUs' | 'endedAtUs'>,
  signal: AbortSignal,
  reporter: ReplayReporter,
): Promise<{ readonly document: CalibrationDocument; readonly planned: number; readonly end: ReplayEnd }> {
  const { window, options } = plan;
  const compared = new CalibrationStatistics(options.calibrationBounds);
  const statistics = new RunStatistics();
  reporter.note(`Calibration: ${formatMs(window.plannedSpanNs / 1e6)} at 1x`);
  const progress = new ReplayProgress({
    position: () => replay.position(),
    warmupNs: 0,
    plannedNs: window.plannedSpanNs,
    calibrates: true,
    reporter,
  });
  const store = new SqliteRunStore(join(runDirectory, CALIBRATION_DIRECTORY));
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
    const stretch = { from: formatInstantUs(window.fromUs), to: formatInstantUs(window.toUs - 1) };
    const { sent, failed } = totals;
    const report = compared.report(end.kind !== 'complete');
    const document = { ...report, ...stretch, precedesWindow, sent, failed };
    store.seal({ ...run, ...times }, totals, { schemaVersion: 1, kind: 'calibration', ...document });
    reporter.note(...calibrationLines(document));
    reporter.event?.({ event: 'calibration', ...document });
    return { document, planned: totals.planned, end };
  } finally {
    store.close();
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
