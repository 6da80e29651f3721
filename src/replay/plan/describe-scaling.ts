import type { TimeRange } from '../../core/ports.ts';
import { countLines, linesOf } from '../../core/text.ts';
import { countOf, formatInstantUs, formatMs } from '../../core/units.ts';
import type { ScalingCounts, ScalingPlan } from '../../documents/replay.ts';
import { ID_MEMBERS_TEXT, placeText } from '../request/copy-identity.ts';
import type { Forecast, PlanEnd } from './forecast.ts';
import type { Scaling } from './scaling.ts';
import { SCALING_KINDS, STAGES_BEND } from './scaling.ts';
import { stageText } from './stages.ts';
import { shifted } from './superpose.ts';

/** The settings of a scaling and their results, for a plan and for the document of a run. */
export function scalingDocument(scaling: Scaling, window: TimeRange, forecast: Forecast): ScalingPlan {
  const { options, curve, coverage, layers } = scaling;
  const { keeps, bends } = SCALING_KINDS[options.scaling];
  const isFollowedLate = options.scaling !== 'compress' && !curve.constant;
  const [least, most] = [scaling.loadAt(curve.min), scaling.loadAt(curve.max)];
  return {
    keeps,
    bends: isFollowedLate ? `${bends}; ${STAGES_BEND}` : bends,
    seed: options.seed,
    stages: options.stages?.map(stageText) ?? null,
    targetShare: options.targetShare,
    coverageFactor: coverage === null ? null : scaling.coverageFactor,
    keptSessions: [least.kept, most.kept],
    timesEach: [least.copies, most.copies],
    jitterMs: options.jitterMs,
    perturb: options.perturb.map(placeText),
    layers: layers.slice(1).map(({ shiftUs, exchanges }, at) => {
      const { fromUs, toUs } = shifted(window, shiftUs);
      const share = scaling.layerShare(at + 1, curve.max);
      return { from: formatInstantUs(fromUs), to: formatInstantUs(toUs), exchanges, share };
    }),
    expectedRequests: forecast.plannedExchanges,
    drawn: scaling.drawn.weighed,
  };
}

/** The scaling as text, before the start. @param bound how far draws may differ from the request, as a share */
export function scalingLines(
  scaling: Scaling,
  end: PlanEnd,
  window: TimeRange,
  forecast: Forecast,
  bound: number,
): string[] {
  const document = scalingDocument(scaling, window, forecast);
  const { keptSessions, timesEach, perturb, layers } = document;
  const { options } = scaling;
  const repeats = timesEach[1] > 1;
  return linesOf(
    `  scaling ${options.scaling}: keeps ${document.keeps};`,
    `    changes ${document.bends}`,
    document.stages !== null && [
      `  stages ${document.stages.join(', ')}${options.multiplier === 1 ? '' : `, each times ${options.multiplier}`}`,
      `    they play ${formatMs(end.playedUs / 1e3)} of the recording${STAGES_END[end.with]}`,
    ],
    options.targetShare < 1 &&
      `  target share ${shareText(options.targetShare)} of what was recorded: sessions are left out first, the multiplier is of what stays`,
    keptSessions[0] < 1 && `  plays ${rangeText(keptSessions, shareText)} of the sessions, each whole`,
    repeats && [
      `  plays each session ${rangeText(timesEach, (times) => times.toFixed(2))} times; copies have names of their own and begin up to ${formatMs(options.jitterMs)} later`,
      `    made new in them: the session's key, trace, request and idempotency headers, and in JSON bodies ${ID_MEMBERS_TEXT}`,
      perturb.length === 0
        ? '    copies repeat payloads and may be answered from a cache; --perturb makes them differ'
        : `    copies differ in ${perturb.join(', ')}`,
    ],
    !repeats &&
      perturb.length > 0 &&
      '  no session is played more often than once: --perturb changes nothing',
    layers.map(
      ({ from, to, exchanges, share }) =>
        `  laid over it: ${from} to ${to}, ${countOf(exchanges, 'exchange')}, ${share < 1 ? shareText(share) : 'all'} of its sessions`,
    ),
    drawnLines(document.drawn, bound),
    (scaling.alters || layers.length > 0) &&
      `  ${countOf(forecast.plannedExchanges, 'request')} expected, decided by seed ${options.seed}`,
  );
}

/** Lines if draws cannot reach the requested number. */
function drawnLines(drawn: ScalingPlan['drawn'], bound: number): string[] {
  if (drawn == null || Math.abs(drawn.planned - drawn.asked) <= bound * drawn.asked) return [];
  const { planned, asked, largest } = drawn;
  return [
    `  WARNING: sessions are too large to draw: ${planned} requests are planned, not ${Math.round(asked)}`,
    `    the largest has ${largest}, so a run of this plan is INCONCLUSIVE (multiplier_not_reached)`,
    '    Choose a longer window, another --seed, or --scaling compress, which leaves no session out.',
  ];
}

/** Lines with the counts of a scaling. */
export function scalingCountLines(counts: ScalingCounts): string[] {
  const { thinned, copies, layered, openedBefore } = counts;
  const lines = countLines([
    [thinned, 'exchanges left out with their sessions'],
    [copies, 'copies'],
    [layered, 'from other stretches'],
    [counts.perturbed, 'copies made to differ'],
    [counts.notPerturbed, 'copies without the place that was to differ'],
    [counts.bodiesUnread, 'compressed bodies that keep the recorded names'],
    [counts.forgottenSessions, 'sessions that may have been split: more spoke at once than are remembered'],
  ]);
  if (openedBefore !== null && openedBefore.exchanges > 0) {
    const { sessions, exchanges, lookbackMs } = openedBefore;
    lines.push(
      `  under way when the window opened, of those that spoke in the ${formatMs(lookbackMs)} before: ${countOf(sessions, 'session')} (${countOf(exchanges, 'exchange')}), played from there on`,
    );
  }
  return lines.length === 0 ? [] : ['', 'Scaling', ...lines];
}

const STAGES_END: Readonly<Record<PlanEnd['with'], string>> = {
  stages: '',
  duration: ', until the duration is over',
  windows: ', to the end of the windows',
};

function rangeText([least, most]: readonly [number, number], text: (value: number) => string): string {
  return least === most ? text(most) : `${text(least)} to ${text(most)}`;
}

function shareText(share: number): string {
  return `${Number((share * 100).toPrecision(4))} %`;
}
