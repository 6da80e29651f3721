import { listed, shellWord } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import type {
  ComparedMetric,
  ComparedRoute,
  ComparedSide,
  FactDifference,
  ShiftedFigure,
} from '../../documents/comparison.ts';
import { figuresOf } from '../../documents/reasons.ts';
import { differencesText, type ServerDifference } from '../../documents/server-details.ts';
import {
  changeText,
  figureText,
  INTERVAL_SHOWN,
  intervalText,
  latencyText,
  metricName,
  NONE,
  numberText,
  pointsText,
  shareText,
  timesText,
} from '../render/table.ts';
import { type Reason, type Words, worded } from '../verdict/reasons.ts';
import { isStoppedByFailures } from '../verdict/run-context.ts';
import { differingMetric } from './routes.ts';

/** A reason of a comparison: what was found, and what to change. */
export type ComparisonReason = Omit<Reason, 'code' | 'severity' | 'title' | 'means'> & {
  readonly code: string;
};

type Stopped = NonNullable<ComparedSide['stopped']>;

const REPEAT_ADVICE = 'Replay more often: a greater --repeat, or more runs of each side.';
const OPEN_ADVICE = 'Replay a longer window on both sides, or a lower multiplier, where queues vary less.';
const MISMATCH_ADVICE =
  'See the mismatches of B by kind: reprise report B. What may vary is left out by --check ignore=POINTER, or allowed by --check rel=SHARE.';

/** Every reason that `compare` can give. A code may also name the metric or the side. */
const COMPARISONS = {
  changed: words<{ metric: ComparedMetric; kind: 'worse' | 'better' }>({
    text: ({ metric }) => changedText(metric),
    advice: ({ metric: { name }, kind }) => {
      if (kind === 'better') return 'Nothing to do.';
      if (name === 'mismatched') return MISMATCH_ADVICE;
      return 'See what is slow or failed in B: reprise show B --slowest 20, or --failed.';
    },
  }),
  too_few_pairs: words<ComparedMetric>({
    text: (metric) => undecidedText(metric, 'too few pairs'),
    advice: OPEN_ADVICE,
  }),
  undecided: words<ComparedMetric>({
    text: (metric) => undecidedText(metric, rangeText(metric)),
    advice: ({ runsNeeded }) => (runsNeeded == null ? OPEN_ADVICE : REPEAT_ADVICE),
  }),
  mismatches_undecided: words<ComparedMetric>({
    text: (metric) =>
      undecidedText(
        metric,
        `B answers otherwise what A answered as recorded, ${shareText(metric.b)} for ${shareText(metric.a)}`,
      ),
    advice: MISMATCH_ADVICE,
  }),
  no_answer: words<ComparedMetric>({
    text: ({ name, windows, blindWindows }) =>
      `${metricName(name)} is undecided: in ${blindWindows} of ${windows} windows neither side has an answer at this percentile`,
    advice:
      'See the failures of both: reprise show A --failed, and reprise show B --failed. Replayed without what fails (--filter), the rest can be compared.',
  }),
  our_lag: words<ComparedMetric>({
    text: ({ name, ratio, ratioLessLag }) =>
      `${metricName(name)} is undecided, as we sent late: B is ${changeOf(ratio)} from the planned instants, and ${changeOf(ratioLessLag)} from when we sent`,
    advice:
      'Run both replays on cores or hosts that nothing else uses. reprise selftest shows the highest rate that a host can send.',
  }),
  not_compared: words<{ name: string }>({
    text: ({ name }) => `${name} is not compared: no stream has it on both sides`,
    advice:
      "A recording holds no times between tokens, and another tool's file or a coded stream no first token either.",
  }),
  status_mix: words<{ distance: number }>({
    text: ({ distance }) =>
      `${shareText(distance)} of the answers are of another kind than on the other side, failures, 4xx and 3xx apart`,
    advice: 'See the statuses of both runs: what is answered differently cannot be compared by its time.',
  }),
  streams_differ: words<{ share: number }>({
    text: ({ share }) =>
      `${shareText(share)} of the answers came piece by piece on one side, and whole on the other`,
    advice: 'See how both builds answer what asks for a stream: whole answers have no first token.',
  }),
  not_comparable: words<{ differences: readonly string[] }>({
    text: ({ differences }) => `B answers otherwise than A: ${listed(differences)}`,
    advice: 'Look at some answers of both builds: what does other work cannot be compared by its time.',
  }),
  unanswered: words<null>({
    text: () => 'most requests got no answer on either side: there is nothing to compare',
    advice: 'See the errors of both sides: reprise show A --failed, and reprise show B --failed.',
  }),
  unserved: words<{ pairs: number; ofA: number }>({
    text: ({ pairs, ofA }) => `of ${countOf(pairs, 'request')} A served ${numberText(ofA)} and B none`,
    advice:
      'See the errors and statuses of B: reprise report B. Its target must be up and know these paths and credentials.',
  }),
  answers_differ: words<{ before: number | null; after: number }>({
    text: ({ before, after }) =>
      `${shareText(after)} of the answers of B differ from the recorded ones${before === null ? '; A was not checked' : `, of A ${shareText(before)}`}`,
    advice:
      'See the mismatches of B by kind: reprise report B. What is answered differently cannot be compared by its time.',
  }),
  b_unchecked: words<null>({
    text: () => 'the answers of A were compared with the recorded ones, those of B were not',
    advice: 'Replay B with --check as well: a build that answers otherwise may be faster for that alone.',
  }),
  left_out: words<{ side: string; all: number; late: number }>({
    text: ({ side, all, late }) =>
      `${shareText(all)} of the requests were left out of ${side} alone (${shareText(late)} sent late, ${shareText(all - late)} cancelled, not reached or open at the end): the rest may not represent them`,
    advice: ({ side, all, late }) =>
      late > all / 2
        ? `Run the replay of ${side} on cores or a host that nothing else uses. reprise selftest shows the highest rate that a host can send.`
        : 'Replay both with --cancels wait, to their ends, and with a --timeout drain as long as answers take.',
  }),
  stopped: words<Stopped & { side: string }>({
    text: ({ side, ...stopped }) => `${side} was ${stoppedText(stopped)}: the rest was not compared`,
    advice: ({ side, cause }) =>
      isStoppedByFailures(cause)
        ? `See why the target of ${side} did not serve: reprise report ${side}. Replay again once it does.`
        : `Let it run to its end, or replay a shorter window on both sides. What ended it: reprise report ${side}.`,
  }),
  routes_worse: words<{ routes: readonly ComparedRoute[] }>({
    text: ({ routes }) => `${routesAre(routes)} worse: ${routesText(routes)}`,
    advice: ({ routes: [worst] }) => {
      const of = worst?.route == null ? '' : ` --route ${shellWord(worst.route)}`;
      return `See what is slow there: reprise show B${of} --slowest 20. What failed: --failed.`;
    },
  }),
  routes_doubtful: words<{ routes: readonly ComparedRoute[] }>({
    text: ({ routes }) =>
      `${routesAre(routes)} probably worse, with too few pairs to be sure: ${routesText(routes)}`,
    advice: OPEN_ADVICE,
  }),
  run_invalid: words<{ side: string; doubt: { text: string; advice: string } }>({
    text: ({ side, doubt }) => `${side} is no valid run: ${doubt.text}`,
    advice: ({ doubt }) => doubt.advice,
  }),
  noise_unknown: words<null>({
    text: () => 'the noise between runs is not known: there is one run of each side',
    advice:
      'A machine that is slower for a while looks like a slower build. To know, alternate: reprise replay CAPTURE --target A --target B --repeat 5.',
  }),
  not_alternated: words<{ order: string }>({
    text: ({ order }) => `all runs of one side came before those of the other (${order})`,
    advice:
      'A machine that gets slower looks like a slower build. Alternate: reprise replay CAPTURE --target A --target B --repeat 5.',
  }),
  same_run: words<null>({
    text: () => 'A and B are one run, which was compared with itself',
    advice: 'Name the run of the other build.',
  }),
  facts_differ: words<FactDifference>({
    text: ({ fact, a, b }) => `A and B differ in ${fact}: ${a} | ${b}`,
    advice: 'What differs besides the build may be what is seen here.',
  }),
  runs_left_out: words<{ runs: number; of: number }>({
    text: ({ runs, of }) =>
      `${runs} of ${countOf(of, 'run')} of each side are left out, with those beside them: our own side disturbed them`,
    advice: 'Run the replays on cores or a host that nothing else uses.',
  }),
  server_differs: words<{ differences: readonly ServerDifference[] }>({
    text: ({ differences }) => `A and B are different servers: ${differencesText(differences, 'A', 'B')}`,
    advice: 'What differs besides the build may be what is seen here.',
  }),
  cache_hits_differ: words<{ a: number; b: number }>({
    text: ({ a, b }) => `A had ${shareText(a)} of its prompt tokens from a cache, and B ${shareText(b)}`,
    advice:
      'First tokens come sooner with more hits. Begin both with the same cache, unless the cache is what changed.',
  }),
  shifted: words<ShiftedFigure>({
    text: ({ name, a, b, shift, bound, ratio }) => {
      const times = ratio === null ? '' : ` (${ratio.toFixed(2)} times)`;
      const values =
        a === null || b === null ? ' elsewhere' : ` from ${figureText(a)} to ${figureText(b)}${times}`;
      return `${name} went${values}: a shift of ${shareText(shift)}, over ${shareText(bound)}`;
    },
    advice: 'Load tests of the older traffic no longer say what this traffic needs: record, and test again.',
  }),
  too_few_requests: words<{ requests: readonly number[]; least: number }>({
    text: ({ requests, least }) =>
      `the profiles have ${requests.join(' and ')} requests: at least ${least} are needed on both sides`,
    advice: 'Profile a longer window.',
  }),
  spans_differ: words<{ spans: readonly number[] }>({
    text: ({ spans }) =>
      `the profiles are of ${spans.map((span) => `${Math.round(span)} s`).join(' and ')}: peaks, concurrency and hours are not compared`,
    advice: 'Profile windows of like length.',
  }),
} as const;

type ComparisonFacts<Kind extends keyof typeof COMPARISONS> = Parameters<
  (typeof COMPARISONS)[Kind]['text']
>[0];

/** One reason of a comparison in words. @param code the code, if it is not just the kind */
export function comparisonReason<Kind extends keyof typeof COMPARISONS>(
  kind: Kind,
  facts: ComparisonFacts<Kind>,
  code: string = kind,
): ComparisonReason {
  const words = worded(COMPARISONS[kind] as unknown as Words<ComparisonFacts<Kind>>, facts);
  return { code, ...words, about: metricsIn(facts), figures: figuresOf(facts) };
}

/** The metric that a reason is about. */
function metricsIn(facts: object | null): string[] {
  const { metric = facts } = (facts ?? {}) as { readonly metric?: object | null };
  const { name } = (metric ?? {}) as { readonly name?: string };
  return name === undefined ? [] : [name];
}

function words<Facts>(each: Words<Facts>): Words<Facts> {
  return each;
}

/** `stopped (Ctrl-C) after 120 of 300 planned requests` */
export function stoppedText({ cause, sent, planned, planCounted }: Stopped): string {
  const why = isStoppedByFailures(cause)
    ? 'most requests failed or were rejected'
    : cause.replace(/SIGINT$/, 'Ctrl-C');
  const of = `${planCounted ? '' : 'at least '}${numberText(planned)}`;
  return `stopped (${why}) after ${numberText(sent)} of ${of} planned requests`;
}

function routesAre({ length }: readonly ComparedRoute[]): string {
  return `${countOf(length, 'route')} ${length === 1 ? 'is' : 'are'}`;
}

function routesText(routes: readonly ComparedRoute[]): string {
  return listed(
    routes.map((each) => {
      const metric = differingMetric(each);
      return `${each.route ?? 'no route'}${metric === undefined ? '' : `, ${changedText(metric)}`}`;
    }),
  );
}

function changedText(metric: ComparedMetric): string {
  const { name, unit, a, b, interval90 } = metric;
  if (unit !== 'ms') {
    const of = name === 'mismatched' ? 'answers' : 'requests';
    return `${metricName(name)} went from ${shareText(a)} to ${shareText(b)} of the ${of}`;
  }
  const change = changeText(metric);
  if (change === NONE) return `${metricName(name)} went from ${latencyText(a)} to ${latencyText(b)}`;
  return `${metricName(name)} is ${change} (${INTERVAL_SHOWN}: ${intervalText(interval90)})`;
}

function undecidedText(metric: ComparedMetric, why: string): string {
  const { name, pairs, pairsNeeded, windowNeededS, runsNeeded, windows } = metric;
  if (runsNeeded != null)
    return `${metricName(name)} is undecided with ${countOf(windows, 'run')} of each side: ${why}; about ${numberText(runsNeeded)} would tell`;
  const needed =
    windowNeededS == null
      ? `about ${numberText(pairsNeeded)} pairs are needed`
      : `a run of about ${formatMs(windowNeededS * 1e3)} would tell, ${timesLonger(pairs, pairsNeeded)} times as long`;
  return `${metricName(name)} is undecided with ${numberText(pairs)} pairs: ${why}; ${needed}`;
}

function timesLonger(pairs: number, pairsNeeded: number | null): string {
  return numberText(Number(((pairsNeeded ?? 0) / Math.max(1, pairs)).toPrecision(2)));
}

function changeOf(ratio: number | null | undefined): string {
  return ratio == null ? NONE : timesText(ratio);
}

function rangeText({ unit, interval90 }: ComparedMetric): string {
  const isRatio = unit === 'ms';
  const text = isRatio ? changeOf : pointsText;
  return `${isRatio ? 'B' : 'the difference'} is between ${text(interval90?.[0])} and ${text(interval90?.[1])}`;
}
