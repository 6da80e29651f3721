import { countOf, formatMs, formatMultiplier, percent } from '../../core/units.ts';
import type { RepeatFigures } from '../../documents/replay.ts';
import { type Threshold, unitOf } from './slo.ts';

/**
 * `fail`: an objective is violated. `doubt`: the finding could change the answer, so the run proves nothing. `note`:
 * the finding cannot change the answer.
 */
type Severity = 'fail' | 'doubt' | 'note';

/** One finding of a run in words: what happened, what it means, and the one thing to do. */
export interface Reason {
  readonly code: ReasonCode;
  readonly severity: Severity;
  readonly title: string;
  /** What was found in this run, with its figures. */
  readonly text: string;
  readonly means: string;
  readonly advice: string;
}

/** The words for one code; `Facts` are the figures in its sentence. */
export interface Words<Facts> {
  readonly text: (facts: Facts) => string;
  readonly advice: string | ((facts: Facts) => string);
}

/** What the catalogue says of one code of a run. */
interface Entry<Facts> extends Words<Facts> {
  readonly severity: Severity;
  readonly title: string;
  readonly means: string;
}

/** Requests, or streams, that the target answered in another way than the recording. */
type Incomparable =
  | { readonly kind: 'turned_away'; readonly share: number; readonly recorded: number | null }
  | { readonly kind: 'statuses'; readonly share: number }
  | {
      readonly kind: 'failures';
      readonly share: number;
      readonly commonest: string;
      readonly recorded: number | null;
    }
  | { readonly kind: 'unserved'; readonly requests: number; readonly violated: readonly string[] }
  | {
      readonly kind: 'streams';
      readonly turnedAway: number;
      readonly whole: number;
      readonly violated: readonly string[];
    }
  /** By route, each with both figures. */
  | { readonly kind: 'answers'; readonly differences: readonly string[] };

interface Waits {
  readonly late: number;
  readonly all: number;
  readonly unsent: number;
  readonly boundMs: number;
  readonly waitMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Objectives that only these waits violate. */
  readonly violated: readonly string[];
}

/** An objective and what it came to. */
interface Observed {
  readonly threshold: Threshold;
  readonly observed: number | null;
}

/** A cap of ours, and what it refused; a limit of null is unknown. */
interface RefusingCap {
  readonly flag: string;
  readonly limit: string | null;
  readonly refused: number;
}

function capText({ flag, limit }: RefusingCap): string {
  return limit === null ? flag : `${flag} ${limit}`;
}

/** Why less was sent than was planned. */
type Shortfall = 'stopped' | 'connections' | 'caps';

const SHORTFALL_ADVICE: Readonly<Record<Shortfall, string>> = {
  stopped: 'See what ended the run: the rest was not due yet.',
  connections:
    'Give --connections pooled or a longer --drain-deadline, or replay a smaller multiplier: the rest waited for its recorded connection.',
  caps: 'Raise the caps (--max-in-flight, --max-rate, --max-requests), or replay a smaller multiplier.',
};

/** Why the plan is too small, by what requests could wait for. */
const MULTIPLIER_ADVICE = {
  plan: 'See skipped and coverage: requests are missing from the recording, or cannot be replayed. Where sessions were drawn, give another --seed, a longer window, or --scaling compress.',
  sessions:
    'Replay a smaller multiplier, or a window that is long beside its sessions: the target slowed its sessions down, or requests are missing (see sessionOrder, skipped and coverage).',
  connections:
    'Give --connections pooled, or replay a smaller multiplier: recorded connections were busy beyond the plan, or requests are missing (see connectionWaits, skipped and coverage).',
} as const;

const LATENESS_ADVICE = 'Give the generator idle cores of its own, or replay a smaller multiplier.';

/** Every code a run or its report can give, and all that is said of it. */
const CATALOGUE = {
  slo_violated: entry<Observed>({
    severity: 'fail',
    title: 'An objective is violated',
    text: (result) => `${result.threshold.expression}: observed ${observedText(result)}`,
    means: 'At this load the target does not keep what was promised.',
    advice: ({ threshold }) =>
      threshold.metric === 'mismatch'
        ? 'Look both answers up by their ids: their rows in table send of run.sqlite have a check_result.'
        : 'Find the slowest and the failed requests in table send of run.sqlite. Then add capacity, or replay a smaller multiplier.',
  }),
  interrupted: entry<{
    cause: string;
    failures: { failed: number; sent: number; commonest: string } | null;
  }>({
    severity: 'doubt',
    title: 'The run did not reach its end',
    text: ({ cause, failures }) =>
      `the schedule was not played to its end (${cause})${failures === null ? '' : `: ${failures.failed} of ${failures.sent} sent requests had failed, most often with ${failures.commonest}`}`,
    means: 'The busiest part of the window may not have been sent, so a pass would be luck.',
    advice: ({ failures }) =>
      failures === null
        ? 'Let the run finish, or replay a shorter window.'
        : 'Mend what the target answers (see the errors by kind), or replay a smaller multiplier.',
  }),
  nothing_planned: entry<{ elsewhere: number }>({
    severity: 'doubt',
    title: 'Nothing was planned',
    text: ({ elsewhere }) =>
      elsewhere === 0
        ? 'no request was planned, so none was sent'
        : `this shard had nothing to send: other shards play the whole plan, ${countOf(elsewhere, 'request')}`,
    means: 'The target was under no load, so the run says nothing of it.',
    advice: ({ elsewhere }) =>
      elsewhere === 0
        ? 'See what was left out (skipped, unreplayable, thinned in scalingPlan.counts). Ask for a larger --target-share or multiplier, a longer window, or another --seed.'
        : 'Merge it with the others: reprise merge judges the whole.',
  }),
  achieved_below: entry<{
    sent: number;
    planned: number;
    atLeast: boolean;
    why: Shortfall;
    violated: readonly string[];
  }>({
    severity: 'doubt',
    title: 'Less was sent than was planned',
    text: ({ sent, planned, atLeast, violated }) =>
      `${sent} of ${atLeast ? 'at least ' : ''}${planned} planned requests were sent${violated.length === 0 ? '' : `; only the others violate ${violated.join('; ')}`}`,
    means: 'The target was under less load than the report names.',
    advice: ({ why }) => SHORTFALL_ADVICE[why],
  }),
  lag_over_bound: entry<{
    p99Ms: number;
    maxMs: number;
    boundMs: number;
    violated: readonly Observed[];
  }>({
    severity: 'note',
    title: 'The generator was late',
    text: ({ p99Ms, maxMs, boundMs, violated }) => {
      const lag = `lag p99 ${formatMs(p99Ms)}, max ${formatMs(maxMs)}; the bound is ${formatMs(boundMs)}`;
      if (violated.length === 0) return `requests left late: ${lag}`;
      const each = violated.map(
        (result) => `${result.threshold.expression} (observed ${observedText(result)})`,
      );
      return `${each.join('; ')}: violated only by the time before requests left (${lag})`;
    },
    means:
      'Scheduled latency counts our lateness, which can only make a pass harder. Service latency does not hold it.',
    advice: LATENESS_ADVICE,
  }),
  sender_busy: entry<{ share: number; bound: number }>({
    severity: 'note',
    title: 'A sender thread had little time left',
    text: ({ share, bound }) =>
      `a sender thread was at work ${percent(share)} of the time, over ${percent(bound)}`,
    means: 'What was measured may be slower than the target is, never faster.',
    advice: 'Raise --senders where there are idle cores. Else split the load with --shard.',
  }),
  cpu_throttled: entry<null>({
    severity: 'note',
    title: 'A CPU quota held the generator back',
    text: () => 'the CPU quota of our own container, unit or slice held the generator back',
    means: 'Its pauses look like latency of the target.',
    advice: 'Raise or remove the CPU limit of what the replay runs in.',
  }),
  arrivals_off_plan: entry<{ off: readonly { name: string; planned: number; sent: number }[] }>({
    severity: 'doubt',
    title: 'What was sent is not as bursty as planned',
    text: ({ off }) =>
      `what was sent does not have the planned burstiness: ${off.map(({ name, planned, sent }) => `${name} ${sent.toFixed(2)} for ${planned.toFixed(2)}`).join(', ')}`,
    means: 'Bursts make queues: with other bursts the latency is that of other traffic.',
    advice: LATENESS_ADVICE,
  }),
  in_flight_cap: entry<{ refused: number; caps: readonly RefusingCap[]; violated: readonly string[] }>({
    severity: 'doubt',
    title: 'Our own cap refused requests',
    text: ({ refused, caps, violated }) =>
      `our own caps refused ${countOf(refused, 'request')} that were due: ${caps.map((cap) => `${cap.refused} by ${capText(cap)}`).join(', ')}${violated.length === 0 ? '' : `; only these violate ${violated.join('; ')}`}`,
    means: 'Production would have sent these requests, so the target was under less load than planned.',
    advice: ({ caps }) =>
      `Raise ${caps.map(({ flag }) => flag).join(' and ')}, or replay a smaller multiplier.`,
  }),
  shards_missing: entry<{ missing: readonly number[]; count: number }>({
    severity: 'doubt',
    title: 'Runs of shards are missing',
    text: ({ missing, count }) =>
      `${missing.length} of ${count} shards are not among the runs: ${missing.slice(0, 20).join(', ')}${missing.length > 20 ? ' …' : ''}`,
    means: 'Only a part of the load is in this run.',
    advice: 'Merge the runs of all shards. Where one never came to its end, replay all of them again.',
  }),
  shards_apart: entry<{ spreadMs: number }>({
    severity: 'doubt',
    title: 'The shards did not start together',
    text: ({ spreadMs }) =>
      `the shards began up to ${formatMs(spreadMs)} apart, so that together they were not the planned arrivals`,
    means: 'The peaks of the plan were spread out, which makes the test easier than it says.',
    advice:
      'Give all of them the same --start-at, far enough ahead that each is ready, and keep their clocks by NTP.',
  }),
  too_few_samples: entry<{
    expression: string;
    floor: number;
    samples: number;
    gapless: boolean;
    slices: number;
  }>({
    severity: 'doubt',
    title: 'Too few answers for the percentile',
    text: ({ expression, floor, samples, gapless, slices }) => {
      if (slices > 1) {
        return `${expression} needs ${floor} answers in each slice; ${slices} slices have fewer, the least ${samples}`;
      }
      return gapless
        ? `${expression} needs times between tokens, and none of ${countOf(samples, 'stream')} had a second token`
        : `${expression} needs ${floor} answers, there are ${samples}`;
    },
    means: 'A tail that was not sampled cannot be promised.',
    advice: ({ gapless }) =>
      gapless
        ? 'Judge answers of one token by ttft or latency, or replay longer ones.'
        : 'Replay a longer window, or judge a lower percentile.',
  }),
  too_close: entry<
    Observed & {
      confidence: number;
      upperBound: number;
      more: { requests: number; ms: number } | null;
    }
  >({
    severity: 'doubt',
    title: 'The percentile is too close to its limit',
    text: ({ threshold, observed, confidence, upperBound }) =>
      `${threshold.expression}: observed ${observedText({ threshold, observed })}, but with ${percent(confidence)} confidence it may be ${observedText({ threshold, observed: upperBound })}`,
    means: 'Another run of the same length may well be over the limit.',
    advice: ({ more }) =>
      more === null
        ? 'The percentile lies at its limit: no longer run decides. Change the limit, or give --confidence point.'
        : `Replay about ${countOf(more.requests, 'request')} more (${formatMs(more.ms)} at this rate), or give --confidence point.`,
  }),
  censored: entry<{ cancelled: number; expressions: readonly string[] }>({
    severity: 'doubt',
    title: 'Clients left before their answers',
    text: ({ cancelled, expressions }) =>
      `${countOf(cancelled, 'request')} ended when the recorded client left; ${expressions.join('; ')} holds only without the answers that had not come by then`,
    means: 'These answers may have been slow, or may never have come.',
    advice: 'Replay with --cancels wait, which waits for every answer.',
  }),
  slice_empty: entry<{ expression: string }>({
    severity: 'doubt',
    title: 'No request is in the slice',
    text: ({ expression }) => `${expression} is about no request of this run`,
    means: 'An objective on nothing is neither kept nor violated.',
    advice:
      'Compare its value with the names in the report or in inspect: models, routes, hashes of clients, stages from 1.',
  }),
  fault_not_as_planned: entry<{ name: string; problem: string }>({
    severity: 'doubt',
    title: 'A planned fault was not on as planned',
    text: ({ name, problem }) => `fault ${name}: ${problem}`,
    means: 'What was to be judged with the fault was not, or what was to be judged without it was.',
    advice: 'See the log of the relay, and that the run lasts longer than the plan. Then replay.',
  }),
  fault_not_felt: entry<{ name: string }>({
    severity: 'doubt',
    title: 'A planned fault touched nothing',
    text: ({ name }) => `fault ${name} was on, and nothing passed it`,
    means: 'The target did not meet the fault, so it says nothing of how the target bears it.',
    advice:
      'Give the target the address of the relay in place of its dependency, and check the direction and the share of the fault.',
  }),
  recovery_too_slow: entry<{ name: string; seconds: number | null; limitS: number; by: readonly string[] }>({
    severity: 'fail',
    title: 'The target did not recover in time',
    text: ({ name, seconds, limitS, by }) =>
      `after fault ${name}, ${by.join(' and ')} held again ${seconds === null ? 'never' : `after ${formatMs(seconds * 1e3)}`}; the limit is ${formatMs(limitS * 1e3)}`,
    means: 'The target suffers longer than its dependency does.',
    advice:
      'Look at retries, pools and circuit breakers of the target, and at queues that filled up meanwhile.',
  }),
  recovery_unknown: entry<{ name: string }>({
    severity: 'doubt',
    title: 'Not known whether the target recovered',
    text: ({ name }) =>
      `too little was seen after fault ${name} to say whether the objectives held again in time`,
    means: 'A time to recover was stated, and it was not seen.',
    advice: 'Let the run go on for longer after the fault, or end the fault earlier.',
  }),
  slices_beyond: entry<{ expression: string; key: string; beyond: number; mostParts: number }>({
    severity: 'doubt',
    title: 'There are more slices than can be judged',
    text: ({ expression, key, beyond, mostParts }) =>
      `${expression} judges the first ${mostParts} values of ${key}; ${countOf(beyond, 'request')} of further ones are in none`,
    means: 'A slice that was not judged may have violated its objective.',
    advice: ({ key }) => `Name those that matter, each by {${key}=…}, or replay fewer with a filter.`,
  }),
  slice_unnamed: entry<{ expression: string; key: string; unnamed: number }>({
    severity: 'note',
    title: 'Some requests are in no slice',
    text: ({ expression, key, unnamed }) =>
      `${expression} leaves out ${countOf(unnamed, 'request')} without a ${key}`,
    means: 'Objectives on all requests count them, those by slice do not.',
    advice: 'Give an objective on all requests as well, if these matter.',
  }),
  goodput_unknown: entry<{ expression: string; unknown: number; all: number }>({
    severity: 'doubt',
    title: 'Not known whether requests were good',
    text: ({ expression, unknown, all }) =>
      `${expression}: of ${unknown} of ${countOf(all, 'answer')} a time is not known that has a limit`,
    means: 'A content coding hides tokens, and without a count of tokens there is no time per token.',
    advice:
      'Send no Accept-Encoding (--remove-header accept-encoding), ask for counts (--request-usage), or limit ttft and latency only.',
  }),
  streams_unread: entry<{ share: number }>({
    severity: 'doubt',
    title: 'Streams could not be read',
    text: ({ share }) =>
      `${percent(share)} of the streams came under a content coding, so that nothing is known of their tokens`,
    means: 'Objectives of streams say nothing of these answers.',
    advice: 'Send no Accept-Encoding: --remove-header accept-encoding.',
  }),
  answers_unchecked: entry<{
    unchecked: number;
    answers: number;
    bound: number;
    why: string;
    advice: string;
  }>({
    severity: 'doubt',
    title: 'Too few answers could be compared',
    text: ({ unchecked, answers, bound, why }) =>
      answers === 0
        ? 'no answer was compared with a recorded one'
        : `${unchecked} of ${answers} answers could not be compared with the recorded ones, over ${percent(bound)}: ${why}`,
    means: 'Nobody knows whether these answers differ from the recorded ones.',
    advice: ({ advice }) => advice,
  }),
  not_monitored: entry<{
    expression: string;
    series: number;
    samples: number;
    missing: number;
    /** Values and series of its source that a bound kept out. */
    unkept: number;
    floor: number;
    mostMissed: number;
  }>({
    severity: 'doubt',
    title: 'A monitored objective was not seen enough',
    text: ({ expression, series, samples, missing, unkept, floor, mostMissed }) =>
      series === 0
        ? `${expression}: no monitor gave this series`
        : `${expression}: ${countOf(samples, 'value')} during the run, ${missing} missed${unkept === 0 ? '' : `, and ${unkept} beyond what is kept`}; needed: ${floor}, with at most ${percent(mostMissed)} missed`,
    means: 'The monitor missed too many readings, so the limit may have been broken unseen.',
    advice:
      'See monitors.sources of the document for the errors. Give a shorter --monitor-interval or a longer window, mend the source, or ask it for fewer series.',
  }),
  coverage_unexplained: entry<{ share: number }>({
    severity: 'doubt',
    title: 'The recording lost traffic',
    text: ({ share }) => `${percent(share)} of the traffic seen while recording is missing from the capture`,
    means: 'Production was busier than the capture says, perhaps at its peaks.',
    advice: 'See what was lost with inspect. Replay a window without losses, or record again.',
  }),
  multiplier_not_reached: entry<{
    reached: string | null;
    asked: number;
    waitsFor: 'sessions' | 'connections' | null;
  }>({
    severity: 'doubt',
    title: 'The load is not that of the multiplier',
    text: ({ reached, asked, waitsFor }) =>
      `${waitsFor === null ? 'the plan' : 'what came due in time'} is ${reached}, not ${formatMultiplier(asked)}`,
    means: 'The load is that of the effective multiplier, and a verdict would hold for that one only.',
    advice: ({ waitsFor }) => MULTIPLIER_ADVICE[waitsFor ?? 'plan'],
  }),
  connection_wait: entry<Waits>({
    severity: 'doubt',
    title: 'Requests waited for their recorded connections',
    text: ({ late, all, unsent, boundMs, waitMs, violated }) => {
      const never = unsent === 0 ? '' : `, ${unsent} of them never,`;
      const wait = `wait p50 ${formatMs(waitMs.p50)}, p99 ${formatMs(waitMs.p99)}, max ${formatMs(waitMs.max)}`;
      const broken = violated.length === 0 ? '' : `; only these waits violate ${violated.join('; ')}`;
      return `${late} of ${all} requests (${percent(late / Math.max(1, all))}) left over ${formatMs(boundMs)} late${never} because their recorded connection was not free (${wait})${broken}`;
    },
    means:
      'A connection carries one request at a time, so a slow target was sent less, and later, than was planned.',
    advice:
      'Give --connections pooled, which sends on time whatever the target does, or replay a smaller multiplier.',
  }),
  not_comparable: entry<Incomparable>({
    severity: 'doubt',
    title: 'The answers are of another kind than recorded',
    text: incomparableText,
    means: 'Other answers are other work: their latency says nothing of what production served.',
    advice: incomparableAdvice,
  }),
  repeats_cached: entry<RepeatFigures>({
    severity: 'doubt',
    title: 'Repeated requests were answered faster',
    text: ({ time, pairs, firstMs, repeatMs }) =>
      `second sends of the same request had a ${time === 'ttft' ? 'time to first token' : 'latency'} of ${formatMs(repeatMs)}, first ones of ${formatMs(firstMs)} (geometric means of ${countOf(pairs, 'pair')})`,
    means: 'A cache answered what --loop or copies repeated, and production would not have sent that again.',
    advice:
      'Turn off the cache of the target, or give it --warmup if it was cold at first. Else give a longer window instead of --loop, --scaling compress instead of amplify, or --perturb.',
  }),
  staging_not_representative: entry<{ differences: readonly string[] }>({
    severity: 'doubt',
    title: 'The target is not like production',
    text: ({ differences }) => `at 1x the target does not answer as was recorded: ${differences.join('; ')}`,
    means: 'Even at recorded speed it answers otherwise, so its capacity is not that of production.',
    advice:
      'Serve the same model from the same kind of machine, without a cache; or widen --calibrate-bounds if that is meant.',
  }),
  uncalibrated: entry<{ why: 'not_asked' | 'no_latency' | 'few_pairs'; pairs: number }>({
    severity: 'note',
    title: 'Not calibrated',
    text: ({ why, pairs }) =>
      `the target was not calibrated: ${
        {
          not_asked: 'whether it answers as production did was not tested',
          no_latency: 'the recording has no latency to hold it against',
          few_pairs: `too few of the recorded answers could be compared: ${pairs}`,
        }[why]
      }`,
    means: 'A cache, an error page or a smaller model passes every objective.',
    advice: ({ why }) =>
      why === 'not_asked'
        ? 'Give --calibrate: it plays at 1x first and compares latency, statuses and sizes with the recording.'
        : 'Calibrate with a recording that has answers, or for longer.',
  }),
  partly_open: entry<null>({
    severity: 'note',
    title: 'Sessions waited for the target',
    text: () => 'follow-ups waited for the answer before them, so a slower target was offered less',
    means: 'The figures are no capacity for an open load.',
    advice: 'For a capacity, replay with --session-order open.',
  }),
  turned_away: entry<{ share: number; recorded: number | null }>({
    severity: 'note',
    title: 'A few requests were turned away',
    text: turnedAwayText,
    means: 'They are in no latency, so a request that would have been slow may be among them.',
    advice: 'Find them by their status in table send of run.sqlite: long prompts would have been slow.',
  }),
  recorded_refusals: entry<{ share: number }>({
    severity: 'note',
    title: 'The recording has refusals',
    text: ({ share }) => `production refused ${percent(share)} of the recorded requests (429, 503)`,
    means: 'Recorded arrivals hold the tries that follow a refusal; latencies are of what is served now.',
    advice: 'Replay a window in which production served its traffic, or read the load as it is.',
  }),
  far_faster: entry<{ faster: readonly string[] }>({
    severity: 'note',
    title: 'Answers came far sooner than recorded',
    text: ({ faster }) => `answers came far sooner than recorded: ${listed(faster)}`,
    means: 'A faster build passes rightly; a cache or a stub would look the same.',
    advice: 'Check that the target did the work: compare some answers with --check, or calibrate.',
  }),
  unknown: entry<{ what: readonly string[] }>({
    severity: 'note',
    title: 'Something could not be measured',
    text: ({ what }) => `not known: ${what.join(', ')}`,
    means: 'What is not known counts neither for the run nor against it.',
    advice: 'Find out why it is missing where the decision rests on it.',
  }),
  warmup_short: entry<{ heldMs: number; askedMs: number }>({
    severity: 'note',
    title: 'The warm-up was shorter than asked for',
    text: ({ heldMs, askedMs }) =>
      `the recording before the window makes ${formatMs(heldMs)} of warm-up, of ${formatMs(askedMs)} that were asked for`,
    means: 'The first answers may be those of cold caches and empty pools.',
    advice: 'Begin the window later, or expect the target to be colder.',
  }),
  not_sealed: entry<{ sent: number }>({
    severity: 'doubt',
    title: 'The run never came to its end',
    text: ({ sent }) => `its rows say that ${sent} requests were sent`,
    means: 'It is still going on, or its process was killed. There is no verdict.',
    advice: 'Read the figures as counts of the rows that were written. Replay again for a verdict.',
  }),
  rows_differ: entry<{ differences: readonly string[] }>({
    severity: 'doubt',
    title: 'Rows and summary do not agree',
    text: ({ differences }) => differences.join('; '),
    means: 'The files of this run were changed or damaged after it ended. Its figures cannot be relied on.',
    advice: 'Restore the directory from where it was kept, or replay again.',
  }),
} as const;

export type ReasonCode = keyof typeof CATALOGUE;
export const REASON_CODES = Object.keys(CATALOGUE) as readonly ReasonCode[];

export type FactsOf<Code extends ReasonCode> = Parameters<(typeof CATALOGUE)[Code]['text']>[0];

/** One reason in words. Its severity is that of its code, unless the finding could change the answer of this run. */
export function reason<Code extends ReasonCode>(
  code: Code,
  facts: FactsOf<Code>,
  severity: Severity = CATALOGUE[code].severity,
): Reason {
  const entry = CATALOGUE[code] as unknown as Entry<FactsOf<Code>>;
  const { title, means } = entry;
  const { text, advice } = worded(entry, facts);
  return { code, severity, title, text, means, advice };
}

/** The sentence with its figures, and what to do. */
export function worded<Facts>({ text, advice }: Words<Facts>, facts: Facts) {
  return { text: text(facts), advice: typeof advice === 'string' ? advice : advice(facts) };
}

function entry<Facts>(each: Entry<Facts>): Entry<Facts> {
  return each;
}

/** What was observed, in the unit of its limit. */
function observedText({ threshold, observed }: Observed): string {
  if (observed === null) return 'nothing';
  const unit = unitOf(threshold);
  if (unit === 'number') return String(Number(observed.toPrecision(4)));
  if (unit !== 'ms') return unit === 'share' ? percent(observed) : String(observed);
  return observed === Number.POSITIVE_INFINITY ? 'an answer that never came' : formatMs(observed);
}

function turnedAwayText({
  share,
  recorded,
}: {
  readonly share: number;
  readonly recorded: number | null;
}): string {
  return `the target turned away ${percent(share)} of the requests (answers that are no 2xx, below 500), production ${shareOrUnknown(recorded)}`;
}

const MOST_LISTED = 5;

/** The first of many. */
export function listed(parts: readonly string[]): string {
  const more = parts.length - MOST_LISTED;
  return `${parts.slice(0, MOST_LISTED).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

function shareOrUnknown(share: number | null): string {
  return share === null ? 'unknown' : percent(share);
}

function incomparableText(facts: Incomparable): string {
  switch (facts.kind) {
    case 'turned_away':
      return turnedAwayText(facts);
    case 'statuses':
      return `${percent(facts.share)} of the answers have another status than the recorded ones`;
    case 'failures':
      return `${percent(facts.share)} of the requests failed (5xx, or no answer), most often with ${facts.commonest}; production ${shareOrUnknown(facts.recorded)}`;
    case 'unserved':
      return `the target turned away ${countOf(facts.requests, 'request')}, or answered whole instead of by a stream; only these violate ${facts.violated.join('; ')}`;
    case 'streams': {
      const ways = [
        { requests: facts.turnedAway, how: 'turned away' },
        { requests: facts.whole, how: 'answered whole' },
      ].filter(({ requests }) => requests > 0);
      const missing = ways.map(({ requests, how }) => `${how} ${countOf(requests, 'request')}`).join(' and ');
      return `instead of a stream the target ${missing}; only these violate ${facts.violated.join('; ')}`;
    }
    case 'answers':
      return listed(facts.differences);
  }
}

function incomparableAdvice({ kind }: Incomparable): string {
  switch (kind) {
    case 'turned_away':
      return 'See by which statuses. Give the replay credentials, the path and the models that the target serves, and lift rate limits meant for clients.';
    case 'statuses':
      return 'Compare statuses with inspect: the target must serve what production served.';
    case 'failures':
      return "Mend what the target answers (see the errors by kind), or give a longer --drain-deadline. If so much may fail, say so: --slo 'errors: rate<0.1'.";
    case 'streams':
    case 'unserved':
      return 'See by which statuses and types: the target must serve what production served.';
    case 'answers':
      return 'Look at some answers of these routes: the target must do the work that production did. If the build answers otherwise on purpose, record it anew.';
  }
}
