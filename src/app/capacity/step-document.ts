import { JUDGEMENT_BOUNDS } from '../../analysis/verdict/run-context.ts';
import { picked } from '../../core/picked.ts';
import { countOf } from '../../core/units.ts';
import type { CapacityStep, StepReason, StepWindow } from '../../documents/capacity.ts';
import { latencyMs } from '../../documents/parts.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import type { StepPlayed } from './step.ts';

type StepFacts = Pick<CapacityStep, 'multiplier' | 'purpose' | 'run' | 'settledS' | 'spentS' | 'endedEarly'>;

/** The parts of a step's run that the search keeps. */
interface StepShown
  extends Pick<StepPlayed, 'windows' | 'windowS' | 'littlesLaw' | 'sentPerS' | 'answeredPerS' | 'monitored'> {
  readonly document: Pick<ReplayDocument, 'repeats' | 'slo' | 'sent' | 'refused' | 'health' | 'monitors'> & {
    readonly latencyMs: { readonly scheduled: CapacityStep['latencyMs'] };
  };
}

/** All steps send the same requests. If repeats are faster, every later step shows the cache and not the target. */
export const CACHED: StepReason = {
  code: 'repeats_cached',
  text: 'the same requests are surely faster the second time: a cache answers, or the target was cold',
};

/** Whether repeats were faster in this step. */
export function isCached({ reasons }: Pick<CapacityStep, 'reasons'>): boolean {
  return reasons.some(({ code }) => code === CACHED.code);
}

/** Converts a completed step to its form in the search's document. */
export function stepOf(played: StepShown, facts: StepFacts): CapacityStep {
  const { document } = played;
  const isFaster = document.repeats?.faster === true;
  const hindered = hindrancesOf(document);
  // If the generator was hindered, it may have caused violations, so these windows become void. Kept objectives count
  // even then.
  const own = hindered.length > 0 ? asVoid(played.windows, 'bad', hindered) : played.windows;
  // A cache for repeated requests makes any load look easy, and so does a queue that only grows.
  const good = [...(isFaster ? [CACHED.code] : []), ...(isUnsteady(played) ? ['backlog_grew'] : [])];
  const sure = good.length > 0 ? asVoid(own, 'good', good).map(withoutKept) : own;
  const windows = played.monitored.reduce((each, name) => withMonitored(each, name, document), [...sure]);
  const due = document.sent + document.refused;
  return {
    ...facts,
    verdict: verdictOf(windows),
    reasons: [
      ...reasonsOf(windows).filter(({ code }) => code !== CACHED.code),
      ...(isFaster ? [CACHED] : []),
      ...unsteady(played),
    ],
    ratePerSecond: played.sentPerS,
    achieved: {
      share: due === 0 ? null : document.sent / due,
      ratePerSecond: played.answeredPerS,
    },
    latencyMs: latencyMs.parse(document.latencyMs.scheduled),
    latencyMeanMs: meanOf(windows),
    littlesLaw: played.littlesLaw,
    windowS: played.windowS,
    windows,
    monitors: (document.monitors?.series ?? []).map((series) =>
      picked(series, 'name', 'source', 'labels', 'kind', 'unit', 'p50', 'p95', 'max'),
    ),
  };
}

function asVoid(
  windows: readonly StepWindow[],
  those: StepWindow['result'],
  doubts: readonly string[],
): StepWindow[] {
  return windows.map((window) =>
    window.result === those
      ? { ...window, result: 'void', doubts: [...window.doubts, ...doubts], goals: unknown(window.goals) }
      : window,
  );
}

/** Makes the kept objectives of a window undecided, because the window itself is undecided. */
function withoutKept(window: StepWindow): StepWindow {
  const goals = Object.entries(window.goals).map(([name, held]) => [name, held === true ? null : held]);
  return { ...window, goals: Object.fromEntries(goals) };
}

/** Reasons why our side did not send and read in time. They are measured for the step's run, not for each window. */
function hindrancesOf({ health, sent }: Pick<StepShown['document'], 'health' | 'sent'>): string[] {
  const { busyShare, throttled, starved } = health;
  const { busyShare: mostBusy, achievedShare } = JUDGEMENT_BOUNDS;
  return [
    ...((busyShare ?? 0) > mostBusy ? ['sender_busy'] : []),
    ...(throttled === true ? ['cpu_throttled'] : []),
    ...((starved ?? 0) > (1 - achievedShare) * sent ? ['starved'] : []),
  ];
}

/** A monitored series over its limit makes every window of its step bad. Without enough readings, no window is good. */
function withMonitored(
  windows: readonly StepWindow[],
  name: string,
  { slo }: StepShown['document'],
): StepWindow[] {
  const line = slo.find(({ expression }) => expression === name);
  const held = line?.ok ?? null;
  return windows.map((window) => {
    const goals = { ...window.goals, [name]: held };
    const observed = { ...window.observed, [name]: line?.observed ?? null };
    if (held === false && window.result !== 'void') return { ...window, goals, observed, result: 'bad' };
    if (held !== null || window.result !== 'good') return { ...window, goals, observed };
    return { ...window, goals, observed, result: 'void', doubts: [...window.doubts, 'not_monitored'] };
  });
}

function unknown(goals: StepWindow['goals']): Record<string, null> {
  return Object.fromEntries(Object.keys(goals).map((name) => [name, null]));
}

function verdictOf(windows: readonly StepWindow[]): CapacityStep['verdict'] {
  const count = (result: StepWindow['result']) => windows.filter((each) => each.result === result).length;
  const [good, bad] = [count('good'), count('bad')];
  if (good === bad) return 'INCONCLUSIVE';
  return good > bad ? 'PASS' : 'FAIL';
}

/** Above this share, a step was not steady. Without a growing queue, answers would have to last half of the step. */
export const STEADY_RESIDUAL = 0.25;

function isUnsteady({ littlesLaw }: Pick<StepShown, 'littlesLaw'>): boolean {
  return littlesLaw !== null && littlesLaw > STEADY_RESIDUAL;
}

function unsteady(step: StepShown): StepReason[] {
  if (!isUnsteady(step)) return [];
  const share = step.littlesLaw ?? 0;
  return [
    {
      code: 'backlog_grew',
      about: [],
      figures: { share },
      text: `${(100 * share).toFixed(0)} % of the time in flight was of requests still open at the end: the backlog grew, or the step is short for such answers`,
    },
  ];
}

/** The violations, and the doubts about windows, each with the number of windows. */
function reasonsOf(windows: readonly StepWindow[]): StepReason[] {
  const broken = new Map<string, number>();
  const doubted = new Map<string, number>();
  const add = (counts: Map<string, number>, name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const { result, goals, doubts } of windows) {
    if (result === 'bad')
      for (const [name, held] of Object.entries(goals)) if (held === false) add(broken, name);
    if (result === 'void') for (const code of doubts) add(doubted, code);
  }
  const inWindows = (code: string, what: string, about: readonly string[], count: number): StepReason => ({
    code,
    about,
    figures: { windows: count, of: windows.length },
    text: `${what} in ${count} of ${countOf(windows.length, 'window')}`,
  });
  return [
    ...[...broken].map(([name, count]) => inWindows('slo_violated', `${name} broke`, [name], count)),
    ...[...doubted].map(([code, count]) => inWindows(code, code, [], count)),
  ];
}

function meanOf(windows: readonly StepWindow[]): number | null {
  const known = windows.flatMap(({ latencyMeanMs, completed }) =>
    latencyMeanMs === null ? [] : [{ sum: latencyMeanMs * completed, completed }],
  );
  const completed = known.reduce((sum, each) => sum + each.completed, 0);
  return completed === 0 ? null : known.reduce((sum, each) => sum + each.sum, 0) / completed;
}
