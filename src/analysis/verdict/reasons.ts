import { listed } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier, percent } from '../../core/units.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import { figuresOf } from '../../documents/reasons.ts';
import type { RepeatFigures, WaitsFor } from '../../documents/replay.ts';
import { differencesText, type ServerDifference } from '../../documents/server-details.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import {
  busyAdvice,
  type Failures,
  failureAdvice,
  failuresText,
  followsRecordedTimes,
  type LooksTaken,
  latenessAdvice,
  lessLoad,
  longerAdvice,
  longerRun,
  MULTIPLIER_ADVICE,
  type RefusingCap,
  raiseAdvice,
  refusedText,
  type SendingSide,
  type Undecided,
  undecidedAdvice,
} from './advice.ts';
import {
  type Incomparable,
  incomparableAdvice,
  incomparableText,
  type TurnedAway,
  turnedAwayText,
  type Uncalibrated,
  type UnlikeHits,
  uncalibratedText,
  unlikeHitsAdvice,
  unlikeHitsText,
} from './incomparable.ts';
import {
  type Observed,
  observedText,
  type Pauses,
  pausesText,
  type Violation,
  violationAdvice,
  violationText,
} from './violation.ts';

/**
 * `fail`: an objective is violated. `doubt`: the finding could change the verdict, so the run proves nothing. `note`:
 * the finding cannot change the verdict.
 */
type Severity = 'fail' | 'doubt' | 'note';

/** One finding of a run in words: what happened, what it means, and what to do. */
export interface Reason {
  readonly code: ReasonCode;
  readonly severity: Severity;
  readonly title: string;
  /** The finding in this run, with its figures. */
  readonly text: string;
  readonly means: string;
  readonly advice: string;
  /** The objectives that it is about, by their expressions; empty if it is about the run as a whole. */
  readonly about: readonly string[];
  /** Its figures by name, as JSON. */
  readonly figures: Readonly<Record<string, unknown>>;
}

/** The words for one code. `Facts` are the figures in its text. */
export interface Words<Facts> {
  readonly text: (facts: Facts) => string;
  readonly advice: string | ((facts: Facts) => string);
}

/** The catalogue entry of one code. */
interface Entry<Facts> extends Words<Facts> {
  readonly severity: Severity;
  readonly title: string;
  readonly means: string;
  /** The objectives that it is about; absent if it is about the run as a whole. */
  readonly about?: (facts: Facts) => readonly string[];
}

/** An objective by its expression. */
interface OfObjective {
  readonly expression: string;
}
const ofObjective = ({ expression }: OfObjective) => [expression];
const ofObserved = ({ objective }: Pick<Observed, 'objective'>) => [objective.expression];
const ofViolated = ({ violated }: { readonly violated: readonly string[] }) => violated;

interface Waits {
  readonly late: number;
  readonly all: number;
  readonly unsent: number;
  readonly boundMs: number;
  readonly waitMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Objectives that are violated only because of these waits. */
  readonly violated: readonly string[];
  readonly scaling?: string | undefined;
}

/** Why fewer requests were sent than planned. */
type Shortfall = 'stopped' | 'connections' | 'caps';

/** The words for all codes of runs and reports. */
const CATALOGUE = {
  slo_violated: entry<Violation>({
    severity: 'fail',
    title: 'An objective is violated',
    about: ofObserved,
    text: (violation) => `${violation.objective.expression}: ${violationText(violation)}`,
    means: 'At this load the target does not keep what was promised.',
    advice: violationAdvice,
  }),
  interrupted: entry<{
    cause: string;
    sent: number;
    planned: number;
    /** The expected size of the complete plan, if the plan was not read to its end. */
    expected?: number | undefined;
    failures: Failures | null;
    scaling?: string | undefined;
  }>({
    severity: 'doubt',
    title: 'The run did not reach its end',
    text: ({ cause, sent, planned, expected, failures }) =>
      failures === null
        ? `the run was stopped (${cause}) after ${sent} of ${plannedText(planned, expected)}`
        : `the run was stopped (${cause}), because ${failuresText(failures)}`,
    means: 'The busiest part of the window may not have been sent, so a pass would be luck.',
    advice: ({ failures, scaling }) =>
      failures === null
        ? `Let the run finish, or ${followsRecordedTimes(scaling) ? 'replay a shorter window' : 'give a shorter --duration'}.`
        : failureAdvice(failures),
  }),
  nothing_planned: entry<{ elsewhere: number; scaling?: string | undefined }>({
    severity: 'doubt',
    title: 'Nothing was planned',
    text: ({ elsewhere }) =>
      elsewhere === 0
        ? 'no request was planned, so none was sent'
        : `this shard had nothing to send: other shards replay the whole plan, ${countOf(elsewhere, 'request')}`,
    means: 'The target was under no load, so the run shows nothing about it.',
    advice: ({ elsewhere, scaling }) =>
      elsewhere === 0
        ? `See what was left out (skipped, unreplayable, thinned in scalingPlan.counts). ${followsRecordedTimes(scaling) ? 'Ask for a larger --target-share or multiplier, a longer window, or another --seed.' : 'Give a longer --duration, or fewer filters.'}`
        : 'Merge it with the others: reprise merge judges the whole.',
  }),
  achieved_below: entry<{
    sent: number;
    planned: number;
    atLeast: boolean;
    expected?: number | undefined;
    /** What stopped the run; null or absent for a completed run. */
    cause?: string | null;
    why: Shortfall;
    scaling?: string | undefined;
    /** Our limits, with the number of requests that they refused. */
    caps: readonly RefusingCap[];
    violated: readonly string[];
  }>({
    severity: 'doubt',
    title: 'Less was sent than was planned',
    about: ofViolated,
    text: ({ sent, planned, atLeast, expected, caps, violated }) =>
      `${sent} of ${expected === undefined ? `${atLeast ? 'at least ' : ''}${planned} planned requests` : plannedText(planned, expected)} were sent${caps.length === 0 ? '' : `; refused: ${refusedText(caps)}`}${violated.length === 0 ? '' : `; only the others violate ${violated.join('; ')}`}`,
    means: 'The target was under less load than the report names.',
    advice: ({ why, caps, cause, scaling }) =>
      ({
        caps: `${raiseAdvice(caps, scaling)}.`,
        stopped: `The rest was not due when ${cause ?? 'a stop'} ended the run: replay again to its end.`,
        connections: `Give --connections pooled or a longer --timeout drain, or ${lessLoad(scaling)}: the rest waited for its recorded connection.`,
      })[why],
  }),
  lag_over_bound: entry<{
    p99Ms: number;
    maxMs: number;
    boundMs: number;
    violated: readonly Observed[];
    /** Stalls of the generator, if there was no other lag. */
    stalls?: { times: number; ms: number } | null;
    side: SendingSide;
  }>({
    severity: 'note',
    title: 'The generator was late or stood still',
    about: ({ violated }) => violated.flatMap(ofObserved),
    text: ({ p99Ms, maxMs, boundMs, violated, stalls }) => {
      const figures = `lag p99 ${formatMs(p99Ms)}, max ${formatMs(maxMs)}`;
      if (stalls != null)
        return `the generator stood still ${countOf(stalls.times, 'time')}, ${formatMs(stalls.ms)} in all: ${figures}`;
      const lag = `${figures}; the bound is ${formatMs(boundMs)}`;
      if (violated.length === 0) return `requests left late: ${lag}`;
      const each = violated.map(
        (result) => `${result.objective.expression} (observed ${observedText(result)})`,
      );
      return `${each.join('; ')}: violated only by the time before requests left (${lag})`;
    },
    means:
      'Scheduled latency counts our lateness, which can only make a pass harder. Service latency does not include it.',
    advice: ({ side }) => latenessAdvice(side),
  }),
  generator_paused: entry<Pauses & { side: SendingSide }>({
    severity: 'doubt',
    title: 'The generator stood still while requests were open',
    about: ({ violated }) => violated.flatMap(ofObserved),
    text: pausesText,
    means:
      'The generator could not read these answers when they came: it was stopped, or had no processor. Without these pauses the objective may be met.',
    advice: ({ share, side }) => (share === null ? 'Replay again.' : latenessAdvice(side)),
  }),
  sender_busy: entry<{ share: number; bound: number; scaling?: string | undefined }>({
    severity: 'note',
    title: 'A sender thread had little time left',
    text: ({ share, bound }) =>
      `a sender thread was at work ${percent(share)} of the time, over ${percent(bound)}`,
    means: 'What was measured may be slower than the target is, never faster.',
    advice: ({ scaling }) => busyAdvice(scaling),
  }),
  cpu_throttled: entry<null>({
    severity: 'note',
    title: 'A CPU quota held the generator back',
    text: () => 'the CPU quota of its container, unit or slice held the generator back',
    means: 'Its pauses look like latency of the target.',
    advice: 'Raise or remove the CPU limit of what the replay runs in.',
  }),
  arrivals_off_plan: entry<{
    off: readonly { name: string; planned: number; sent: number }[];
    refused: number;
    side: SendingSide;
  }>({
    severity: 'doubt',
    title: 'The bursts were not those of the plan',
    text: ({ off }) =>
      `requests left in other bursts than planned: ${off.map(({ name, planned, sent }) => `${name} ${sent.toFixed(2)}, planned ${planned.toFixed(2)}`).join('; ')}`,
    means: 'Bursts make queues: with other bursts the latency is that of other traffic.',
    advice: ({ refused, side }) =>
      refused === 0
        ? latenessAdvice(side)
        : `${raiseAdvice([], side.scaling)}: the ${countOf(refused, 'request')} that they refused are missing from the bursts.`,
  }),
  in_flight_cap: entry<{
    refused: number;
    caps: readonly RefusingCap[];
    violated: readonly string[];
    scaling?: string | undefined;
  }>({
    severity: 'doubt',
    title: 'Our own cap refused requests',
    about: ofViolated,
    text: ({ refused, caps, violated }) =>
      `our own caps refused ${countOf(refused, 'request')} that were due: ${refusedText(caps)}${violated.length === 0 ? '' : `; only these violate ${violated.join('; ')}`}`,
    means: 'Production would have sent these requests, so the target was under less load than planned.',
    advice: ({ caps, scaling }) => `${raiseAdvice(caps, scaling)}.`,
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
    means: 'The peaks of the plan were spread out, so the load was lighter than its multiplier.',
    advice:
      'Give all of them the same start (--shard I/N,start=TIME), far enough ahead that each is ready, and keep their clocks by NTP.',
  }),
  too_few_samples: entry<{
    expression: string;
    floor: number;
    samples: number;
    gapless: boolean;
    /** The objective of each slice with too few answers, or the objective itself. */
    parts: readonly string[];
    /** Length of the plan. */
    spanMs: number;
    scaling?: string | undefined;
  }>({
    severity: 'doubt',
    title: 'Too few answers for the percentile',
    about: ({ parts }) => parts,
    text: ({ expression, floor, samples, gapless, parts }) => {
      if (parts.length > 1) {
        return `${expression} needs ${floor} answers in each slice; ${parts.length} slices have fewer, the least ${samples}`;
      }
      return gapless
        ? `${expression} needs times between tokens, and none of ${countOf(samples, 'stream')} had a second token`
        : `${expression} needs ${floor} answers, there are ${samples}`;
    },
    means: 'A tail that was not sampled cannot be promised.',
    advice: ({ gapless, ...facts }) =>
      gapless
        ? 'Judge answers of one token by ttft or latency, or replay longer ones.'
        : longerAdvice(facts, sampleFloor),
  }),
  too_close: entry<
    Observed & {
      confidence: number;
      /** A possible true value on the other side of the limit. */
      otherwise: number;
      /** The slowest answer that was seen, if `otherwise` is beyond it. */
      slowest?: number | undefined;
    } & Undecided
  >({
    severity: 'doubt',
    title: 'An objective is too close to its limit',
    about: ofObserved,
    text: ({ objective, observed, confidence, otherwise, slowest }) =>
      `${objective.expression}: observed ${observedText({ objective, observed })}, but with ${percent(confidence)} confidence it may be ${observedText({ objective, observed: otherwise })}${slowest === undefined ? '' : `, longer than the slowest answer seen (${observedText({ objective, observed: slowest })})`}`,
    means: 'Another run of the same length may well be on the other side of the limit.',
    advice: ({ slowest, ...facts }) => undecidedAdvice({ ...facts, isBeyondSeen: slowest !== undefined }),
  }),
  until_sure: entry<LooksTaken>({
    severity: 'note',
    title: 'The run was judged more than once',
    text: ({ looks, planned, confidence, endedAtMs, plannedMs }) =>
      `judged ${countOf(looks, 'time')} of at most ${planned}, each with ${percent(confidence)} confidence; ${endedAtMs === null ? 'the run went on to its end' : `every objective was decided after ${formatMs(endedAtMs)} of ${formatMs(plannedMs)}, and the rest was not sent`}`,
    means:
      'The chance to be wrong is divided among all planned judgements, so the verdict is as sure as a single one.',
    advice: 'See untilSure in the document of the run.',
  }),
  censored: entry<{ cancelled: number; expressions: readonly string[] }>({
    severity: 'doubt',
    title: 'Clients left before their answers',
    about: ({ expressions }) => expressions,
    text: ({ cancelled, expressions }) =>
      `${countOf(cancelled, 'request')} ended when the recorded client left, before an answer; ${expressions.join('; ')} holds only without them`,
    means: 'These answers may have been slow, or may never have come.',
    advice: 'Replay with --cancels wait, which waits for every answer.',
  }),
  slice_empty: entry<OfObjective>({
    severity: 'doubt',
    title: 'No request is in the slice',
    about: ofObjective,
    text: ({ expression }) => `${expression} is about no request of this run`,
    means: 'An objective on nothing is neither met nor violated.',
    advice:
      'Compare its value with the names in the report or in inspect: models, routes, hashes of clients, stages from 1.',
  }),
  fault_not_as_planned: entry<{ name: string; problem: string }>({
    severity: 'doubt',
    title: 'A planned fault was not on as planned',
    text: ({ name, problem }) => `fault ${name}: ${problem}`,
    means: 'Some requests were to meet the fault and did not, or the reverse.',
    advice: 'See the log of the relay, and that the run lasts longer than the plan. Then replay.',
  }),
  fault_not_felt: entry<{ name: string }>({
    severity: 'doubt',
    title: 'A planned fault touched nothing',
    text: ({ name }) => `fault ${name} was on, and nothing passed it`,
    means: 'The target did not meet the fault, so the run does not show how the target copes.',
    advice:
      'Give the target the address of the relay in place of its dependency, and check the direction and the share of the fault.',
  }),
  recovery_too_slow: entry<{ name: string; seconds: number | null; limitS: number; by: readonly string[] }>({
    severity: 'fail',
    title: 'The target did not recover in time',
    about: ({ by }) => by,
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
    about: ofObjective,
    text: ({ expression, key, beyond, mostParts }) =>
      `${expression} judges the first ${mostParts} values of ${key}; ${countOf(beyond, 'request')} with other values are not judged`,
    means: 'A slice that was not judged may have violated its objective.',
    advice: ({ key }) => `Name those that matter, each by {${key}=…}, or replay fewer with a filter.`,
  }),
  slice_unnamed: entry<{ expression: string; key: string; unnamed: number }>({
    severity: 'note',
    title: 'Some requests are in no slice',
    about: ofObjective,
    text: ({ expression, key, unnamed }) =>
      `${expression} leaves out ${countOf(unnamed, 'request')} without a ${key}`,
    means: 'Objectives on all requests count them, those by slice do not.',
    advice: 'Give an objective on all requests as well, if these matter.',
  }),
  goodput_unknown: entry<{ expression: string; unknown: number; all: number }>({
    severity: 'doubt',
    title: 'Not known whether requests were good',
    about: ofObjective,
    text: ({ expression, unknown, all }) =>
      `${expression}: ${unknown} of ${countOf(all, 'answer')} lack a time that has a limit`,
    means: 'A content coding hides tokens, and without a count of tokens there is no time per token.',
    advice:
      'Send no Accept-Encoding (--header "Accept-Encoding:"), ask for counts (--rewrite usage), or limit ttft and latency only.',
  }),
  streams_unread: entry<{ share: number }>({
    severity: 'doubt',
    title: 'Streams could not be read',
    text: ({ share }) =>
      `${percent(share)} of the streams came under a content coding, so their tokens are unknown`,
    means: 'Objectives on streams do not cover these answers.',
    advice: 'Send no Accept-Encoding: --header "Accept-Encoding:".',
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
    /** Values and series of its source beyond a limit, which were not kept. */
    unkept: number;
    floor: number;
    mostMissed: number;
    scaling?: string | undefined;
  }>({
    severity: 'doubt',
    title: 'A monitored objective was not seen enough',
    about: ofObjective,
    text: ({ expression, series, samples, missing, unkept, floor, mostMissed }) =>
      series === 0
        ? `${expression}: no monitor gave this series`
        : `${expression}: ${countOf(samples, 'value')} during the run, ${missing} missed${unkept === 0 ? '' : `, and ${unkept} beyond what is kept`}; needed: ${floor}, with at most ${percent(mostMissed)} missed`,
    means: 'The monitor missed too many readings, so the limit may have been broken unseen.',
    advice: ({ scaling }) =>
      `See monitors.sources of the document for the errors. Give a shorter interval (--monitor interval=500ms) or ${longerRun(scaling)}, mend the source, or ask it for fewer series.`,
  }),
  coverage_unexplained: entry<{ share: number }>({
    severity: 'doubt',
    title: 'The recording lost traffic',
    text: ({ share }) => `${percent(share)} of the traffic seen while recording is missing from the capture`,
    means: 'Production was busier than the capture says, perhaps at its peaks.',
    advice: 'See when and why by reprise inspect. Replay a window without losses, or record again.',
  }),
  coverage_assumed: entry<{ share: number | null }>({
    severity: 'note',
    title: 'The coverage is an assumption',
    text: ({ share }) =>
      share === null
        ? 'the coverage of the recording is unknown: the plan counts it as complete'
        : `a recorder was killed: the plan uses the lower bound of the coverage, ${percent(share)}`,
    means:
      'Where nothing is known, production may have been busier than the capture. With a lower bound the load is at least the multiplier of all traffic.',
    advice: 'See what is known by reprise inspect.',
  }),
  multiplier_not_reached: entry<{
    reached: string | null;
    asked: number;
    waitsFor: WaitsFor | null;
    scaling?: string | undefined;
  }>({
    severity: 'doubt',
    title: 'The load is not that of the multiplier',
    text: ({ reached, asked, waitsFor }) =>
      `${waitsFor === null ? 'the plan' : 'what came due in time'} is ${reached}, not ${formatMultiplier(asked)}`,
    means: 'The load is that of the effective multiplier, and a verdict would hold for that one only.',
    advice: ({ waitsFor, scaling }) => MULTIPLIER_ADVICE[waitsFor ?? 'plan'](scaling),
  }),
  connection_wait: entry<Waits>({
    severity: 'doubt',
    title: 'Requests waited for their recorded connections',
    about: ofViolated,
    text: ({ late, all, unsent, boundMs, waitMs, violated }) => {
      const never = unsent === 0 ? '' : `, ${unsent} of them never,`;
      const wait = `wait p50 ${formatMs(waitMs.p50)}, p99 ${formatMs(waitMs.p99)}, max ${formatMs(waitMs.max)}`;
      const broken = violated.length === 0 ? '' : `; only these waits violate ${violated.join('; ')}`;
      return `${late} of ${all} requests (${percent(late / Math.max(1, all))}) left over ${formatMs(boundMs)} late${never} because their recorded connection was not free (${wait})${broken}`;
    },
    means:
      'A connection carries one request at a time, so a slow target was sent less, and later, than was planned.',
    advice: ({ scaling }) =>
      `Give --connections pooled, which sends on time whatever the target does, or ${lessLoad(scaling)}.`,
  }),
  not_comparable: entry<Incomparable>({
    severity: 'doubt',
    title: 'The answers are of another kind than recorded',
    about: (facts) => ('violated' in facts ? facts.violated : []),
    text: incomparableText,
    means: 'Other answers are other work: their latency is not that of what production served.',
    advice: incomparableAdvice,
  }),
  repeats_cached: entry<RepeatFigures & { readonly scaling?: string | undefined }>({
    severity: 'doubt',
    title: 'Repeated requests were answered faster',
    text: ({ time, pairs, firstMs, repeatMs }) =>
      `second sends of the same request had a ${factsOf({ metric: time }).chart?.title.toLowerCase()} of ${formatMs(repeatMs)}, first ones of ${formatMs(firstMs)} (geometric means of ${countOf(pairs, 'pair')})`,
    means: 'A cache answered what --loop or copies repeated, and production would not have sent that again.',
    advice: ({ scaling }) =>
      followsRecordedTimes(scaling)
        ? 'Turn off the cache of the target, or give it --warmup if it was cold at first. Else give a longer window instead of --loop, --scaling compress instead of amplify, or --scaling perturb.'
        : 'Turn off the cache of the target. Else record for longer, so that nothing is sent twice, or give --scaling perturb.',
  }),
  cache_unlike: entry<UnlikeHits>({
    severity: 'note',
    title: 'The cache of prompts was hit otherwise than recorded',
    about: ({ decides }) => decides,
    text: unlikeHitsText,
    means: 'A first token comes sooner the more of its prompt is in a cache, so its times are of other work.',
    advice: unlikeHitsAdvice,
  }),
  staging_not_representative: entry<{ differences: readonly string[] }>({
    severity: 'doubt',
    title: 'The target is not like production',
    text: ({ differences }) => `at 1x the target does not answer as was recorded: ${differences.join('; ')}`,
    means: 'Even at recorded speed it answers otherwise, so its capacity is not that of production.',
    advice:
      'Serve the same model from the same kind of machine, without a cache; or widen the bounds of --compare-at-1x if that is meant.',
  }),
  server_differs: entry<{ differences: readonly ServerDifference[] }>({
    severity: 'note',
    title: 'The server is not the recorded one',
    text: ({ differences }) =>
      `what serves differs from what was recorded: ${differencesText(differences, 'recorded', 'here')}`,
    means: 'A different server may have another capacity. Whether it answers alike is tested at 1x.',
    advice: 'Test what production runs, or give --compare-at-1x to compare both at 1x.',
  }),
  uncalibrated: entry<Uncalibrated>({
    severity: 'note',
    title: 'Not compared at 1x first',
    text: uncalibratedText,
    means: 'A cache, an error page or a smaller model passes every objective.',
    advice: ({ why }) =>
      why === 'not_asked'
        ? 'Give --compare-at-1x: it replays at 1x first and compares latency, statuses and sizes with the recording.'
        : 'Take a recording that has answers, or a longer one.',
  }),
  diverged: entry<{ requests: number; share: number }>({
    severity: 'note',
    title: 'Answers lacked values that later requests need',
    text: ({ requests, share }) =>
      `for ${countOf(requests, 'request')} (${percent(share)}) an answer had no value`,
    means:
      'The target answered otherwise than the recorded server, so these requests name ids that it never issued, or are missing.',
    advice: 'See the errors, and whether the target calls tools as the recorded server did.',
  }),
  partly_open: entry<{ awaited: number } | null>({
    severity: 'note',
    title: 'Sessions waited for the target',
    text: (values) =>
      `${values === null ? 'follow-ups waited for the answer before them' : `${countOf(values.awaited, 'request')} waited for values of answers`}, so a slower target was offered less`,
    means: 'The figures are no capacity for an open load.',
    advice: (values) =>
      values === null
        ? 'For a capacity, replay with --session-order open.'
        : 'Compare planned arrivals with those that came due (fidelity.planned and fidelity.resolved).',
  }),
  turned_away: entry<TurnedAway>({
    severity: 'note',
    title: 'A few requests were turned away',
    text: turnedAwayText,
    means: 'They are in no latency, so a request that would have been slow may be among them.',
    advice: 'See which they are in table send of run.sqlite: long prompts would have been slow.',
  }),
  recorded_refusals: entry<{ share: number }>({
    severity: 'note',
    title: 'The recording has refusals',
    text: ({ share }) => `production refused ${percent(share)} of the recorded requests (429, 503)`,
    means:
      'Recorded arrivals include retries after a refusal. Latencies are those of requests that are served now.',
    advice: 'Replay a window with traffic that production served, or read the load as it is.',
  }),
  recorded_client_errors: entry<{ share: number }>({
    severity: 'note',
    title: 'The recording has client errors',
    text: ({ share }) => `${percent(share)} of the recorded answers are client errors (4xx)`,
    means: 'A server answers them with little work, so the load is lighter than its rate.',
    advice: 'See which they are with reprise inspect. Replay a window without them, or a higher multiplier.',
  }),
  recorded_violation: entry<Observed>({
    severity: 'note',
    title: 'The recording itself violates an objective',
    about: ofObserved,
    text: (observed) =>
      `the recording itself violates ${observed.objective.expression}: ${observedText(observed)}`,
    means: 'Production did not meet this objective either, so a FAIL shows nothing about this target alone.',
    advice: 'Check the limit, or replay a window in which production met it.',
  }),
  far_faster: entry<{ faster: readonly string[] }>({
    severity: 'note',
    title: 'Answers came far sooner than recorded',
    text: ({ faster }) => `answers came far sooner than recorded: ${listed(faster)}`,
    means: 'A faster build passes rightly; a cache or a stub would look the same.',
    advice: 'Check that the target did the work: compare some answers with --check, or give --compare-at-1x.',
  }),
  unknown: entry<{ what: readonly string[] }>({
    severity: 'note',
    title: 'Something could not be measured',
    text: ({ what }) => `not known: ${what.join(', ')}`,
    means: 'What is not known counts neither for the run nor against it.',
    advice: 'Find out why it is missing where the decision rests on it.',
  }),
  closed_loop: entry<{ concurrency: number }>({
    severity: 'note',
    title: 'A closed loop has no verdict',
    text: ({ concurrency }) =>
      `${concurrency} requests were in flight at all times: each was sent when another was answered`,
    means:
      'A slow target gets fewer requests, so no request waits for its turn: there is no scheduled latency.',
    advice: 'For a verdict replay the recorded times, or give a rate with --rate.',
  }),
  warmup_short: entry<{ heldMs: number; askedMs: number }>({
    severity: 'note',
    title: 'The warm-up was shorter than asked for',
    text: ({ heldMs, askedMs }) =>
      `the recording has only ${formatMs(heldMs)} before the window for warm-up; ${formatMs(askedMs)} were asked for`,
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

/**
 * One reason in words. Its severity is the default of its code, unless the finding could change the verdict of this
 * run.
 */
export function reason<Code extends ReasonCode>(
  code: Code,
  facts: FactsOf<Code>,
  severity: Severity = CATALOGUE[code].severity,
): Reason {
  const entry = CATALOGUE[code] as unknown as Entry<FactsOf<Code>>;
  const { title, means, about } = entry;
  const { text, advice } = worded(entry, facts);
  return {
    code,
    severity,
    title,
    text,
    means,
    advice,
    about: about?.(facts) ?? [],
    figures: figuresOf(facts),
  };
}

/** The words of a code that need no figures of a run; null for a code without an entry. */
export function wordsOf(code: string): { readonly title: string; readonly advice: string | null } | null {
  if (!Object.hasOwn(CATALOGUE, code)) return null;
  const { title, advice } = CATALOGUE[code as ReasonCode];
  return { title, advice: typeof advice === 'string' ? advice : null };
}

/** The text with its figures, and the advice. */
export function worded<Facts>({ text, advice }: Words<Facts>, facts: Facts) {
  return { text: text(facts), advice: typeof advice === 'string' ? advice : advice(facts) };
}

function entry<Facts>(each: Entry<Facts>): Entry<Facts> {
  return each;
}

/** @param expected the expected size of a plan that was not read to its end */
function plannedText(planned: number, expected?: number): string {
  return expected === undefined
    ? countOf(planned, 'planned request')
    : `about ${countOf(Math.max(expected, planned), 'planned request')}`;
}
