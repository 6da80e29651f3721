import { playbackOf, type ReplayPlan, scalingOf } from '../../../src/app/replay/plan.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { forecastOf, planEndOf } from '../../../src/replay/plan/forecast.ts';
import { scheduleOf } from '../../../src/replay/plan/schedule.ts';
import { RateCurve } from '../../../src/replay/plan/stages.ts';
import { layeredArrivals } from '../../../src/replay/plan/superpose.ts';
import type { CaptureOverview } from '../../../src/replay/window/capture.ts';
import { chooseWindow } from '../../../src/replay/window/window.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture } from '../../support/memory-capture.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';
import { rolledUp } from '../../support/rolled-up.ts';

/**
 * The forecast for a capture of these arrivals, and its actual schedule.
 * @param modelOf the model of each arrival, for filters
 */
export function scheduledBy(
  arrivalsUs: readonly number[],
  flags: RawReplayOptions,
  modelOf: (at: number) => string = () => 'a',
): {
  readonly plan: ReplayPlan;
  readonly planned: number;
  readonly peakPerSecond: number;
  readonly lastNs: number;
} {
  const options = resolveReplayOptions({ dryRun: true, ...flags }, COMMAND_LINE_ALONE);
  const capture = new MemoryCapture(
    arrivalsUs.map((arrivalUs, id) => exchangeRow({ id, arrivalUs, model: modelOf(id) })),
  );
  const overview = overviewOf(arrivalsUs);
  const curve = new RateCurve(options.multiplier, options.stages);
  const pace = options.scaling === 'compress' ? curve.min : 1;
  const chosen = chooseWindow(overview, options.window, pace, curve.durationNs);
  const source = playbackOf(capture, chosen, options.filters);
  const scaling = () => scalingOf(options, overview, source, chosen);
  const window = { ...chosen, plannedSpanNs: planEndOf(scaling(), chosen).offsetNs };
  const plan = {
    options,
    overview,
    window,
    scaling: scaling(),
    forecast: forecastOf(overview, window, scaling(), source.isSelective),
  };
  const seconds = new Map<number, number>();
  let lastNs = 0;
  const schedule = scaling();
  for (const { kept, intendedOffsetNs } of scheduleOf(
    layeredArrivals(source, window, schedule.layers),
    schedule,
  )) {
    if (intendedOffsetNs >= (window.durationNs ?? Number.POSITIVE_INFINITY)) break;
    lastNs = intendedOffsetNs;
    const second = Math.floor(intendedOffsetNs / 1e9);
    if (kept) seconds.set(second, (seconds.get(second) ?? 0) + 1);
  }
  const counts = [...seconds.values()];
  return {
    plan,
    planned: counts.reduce((sum, count) => sum + count, 0),
    peakPerSecond: Math.max(0, ...counts),
    lastNs,
  };
}

function overviewOf(arrivalsUs: readonly number[]): CaptureOverview {
  const counts = Map.groupBy(arrivalsUs, (us) => Math.floor(us / 1e6));
  const seconds = [...counts].map(([second, { length: exchanges }]) => ({
    second,
    exchanges,
    latencyCount: 0,
    latencySumUs: 0,
  }));
  return {
    name: 'capture',
    exchanges: arrivalsUs.length,
    firstArrivalUs: arrivalsUs[0] ?? null,
    lastArrivalUs: arrivalsUs.at(-1) ?? null,
    coverage: 1,
    arrivalsOnly: false,
    targets: [],
    sessionKeys: [],
    seconds: rolledUp(seconds),
    hardest: () => {
      throw new Error('nothing is ranked here');
    },
  };
}
