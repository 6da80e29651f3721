import type { ComparedMetric, FactDifference, ShiftedFigure } from '../../documents/comparison.ts';
import { figureText, latencyText, pointsText, ratioText, shareText } from '../render/table.ts';
import { listed, type Reason, type Words, worded } from '../verdict/reasons.ts';

/** A reason of a comparison: what was found, and what to change. */
export type ComparisonReason = Pick<Reason, 'text' | 'advice'> & { readonly code: string };

const OPEN_ADVICE = 'Replay a longer window on both sides, or a lower multiplier, where queues vary less.';
const MISMATCH_ADVICE =
  'See the mismatches of B by kind: reprise report. What may vary is left out by --check-ignore, or allowed by --check-tolerance.';

/** Every reason that `compare` can give. A code may name the metric or the side as well. */
const COMPARISONS = {
  changed: words<{ metric: ComparedMetric; kind: 'worse' | 'better' }>({
    text: ({ metric }) => changedText(metric),
    advice: ({ metric: { name }, kind }) => {
      if (kind === 'better') return 'Nothing to do.';
      if (name === 'mismatched') return MISMATCH_ADVICE;
      return 'Look at the slowest and the failed requests of B: reprise report.';
    },
  }),
  too_few_pairs: words<ComparedMetric>({
    text: (metric) => undecidedText(metric, 'too few pairs'),
    advice: OPEN_ADVICE,
  }),
  undecided: words<ComparedMetric>({
    text: (metric) => undecidedText(metric, rangeText(metric)),
    advice: OPEN_ADVICE,
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
      `${name} cannot be told: in ${blindWindows} of ${windows} windows neither side has an answer at this percentile`,
    advice:
      'See the failures of both runs: reprise report. Replayed without what fails (--path, --status), the rest can be compared.',
  }),
  our_lag: words<ComparedMetric>({
    text: ({ name, ratio, ratioLessLag }) =>
      `${name} cannot be told for how late we sent: its ratio is ${ratioText(ratio)} from the planned instants, and ${ratioText(ratioLessLag)} from when we sent`,
    advice:
      'Give the generators of both runs idle cores of their own, or replay both at a smaller multiplier.',
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
    advice: 'See the errors of both runs: reprise report.',
  }),
  answers_differ: words<{ before: number | null; after: number }>({
    text: ({ before, after }) =>
      `${shareText(after)} of the answers of B differ from the recorded ones${before === null ? '; A was not checked' : `, of A ${shareText(before)}`}`,
    advice:
      'See the mismatches of B by kind: reprise report. What is answered differently cannot be compared by its time.',
  }),
  b_unchecked: words<null>({
    text: () => 'the answers of A were held against the recorded ones, and those of B were not',
    advice: 'Replay B with --check as well: a build that answers otherwise may be faster for that alone.',
  }),
  left_out: words<{ side: string; all: number; late: number }>({
    text: ({ side, all, late }) =>
      `${shareText(all)} of the requests were left out of ${side} alone (${shareText(late)} sent late, ${shareText(all - late)} cancelled, not reached or open at the end): what is left may not stand for them`,
    advice: ({ side, all, late }) =>
      late > all / 2
        ? `Give the generator of ${side} idle cores of its own, or replay both at a smaller multiplier.`
        : 'Replay both with --cancels wait, to their ends, and with a --drain-deadline as long as answers take.',
  }),
  run_invalid: words<{ side: string; doubt: { text: string; advice: string } }>({
    text: ({ side, doubt }) => `${side} is no valid run: ${doubt.text}`,
    advice: ({ doubt }) => doubt.advice,
  }),
  same_run: words<null>({
    text: () => 'A and B are one run, which was compared with itself',
    advice: 'Name the run of the other build.',
  }),
  facts_differ: words<FactDifference>({
    text: ({ fact, a, b }) => `A and B differ in ${fact}: ${a} | ${b}`,
    advice: 'What differs besides the build may be what is seen here.',
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

/** One reason of a comparison in words. @param code if it is more than the kind */
export function comparisonReason<Kind extends keyof typeof COMPARISONS>(
  kind: Kind,
  facts: ComparisonFacts<Kind>,
  code: string = kind,
): ComparisonReason {
  return { code, ...worded(COMPARISONS[kind] as unknown as Words<ComparisonFacts<Kind>>, facts) };
}

function words<Facts>(each: Words<Facts>): Words<Facts> {
  return each;
}

function changedText({ name, unit, a, b, ratio, interval }: ComparedMetric): string {
  if (unit !== 'ms') {
    const of = name === 'mismatched' ? 'answers' : 'requests';
    return `${name} went from ${shareText(a)} to ${shareText(b)} of the ${of}`;
  }
  if (a === 'Infinity' || b === 'Infinity') return `${name} went from ${latencyText(a)} to ${latencyText(b)}`;
  const change = ((ratio ?? 1) - 1) * 100;
  const longer = `${Math.abs(change).toFixed(1)} % ${change > 0 ? 'longer' : 'shorter'}`;
  return `${name} is ${longer}: ratio ${ratioText(ratio)}, between ${ratioText(interval?.[0])} and ${ratioText(interval?.[1])}`;
}

function undecidedText({ name, pairs, pairsNeeded }: ComparedMetric, why: string): string {
  return `${name} cannot be told from ${pairs} pairs: ${why}; about ${pairsNeeded} pairs are needed`;
}

function rangeText({ unit, interval90 }: ComparedMetric): string {
  const isRatio = unit === 'ms';
  const text = isRatio ? ratioText : pointsText;
  return `the ${isRatio ? 'ratio' : 'difference'} lies between ${text(interval90?.[0])} and ${text(interval90?.[1])}`;
}
