import { countLines, linesOf } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier, percent } from '../../core/units.ts';
import { IDC_WINDOWS, type IdcWindow } from '../../documents/parts.ts';
import type { ArrivalFigures, ReplayDocument, ScalingCounts } from '../../documents/replay.ts';
import {
  type AlternationFacts,
  type AskedPlan,
  assumesCoverage,
  describeFilters,
  PAYLOAD_FINDINGS,
  type PayloadFinding,
  type PlanFacts,
  type PlannedObjective,
  type ReplayPlanDocument,
  stagesText,
} from '../../documents/replay-plan.ts';
import { columnsOf, NONE, tableLines } from '../render/table.ts';
import { valueText } from '../report/requests.ts';
import { JUDGEMENT_BOUNDS, reachedText } from '../verdict/run-context.ts';

/** Up to this number, windows are listed one by one. */
const LISTED_WINDOWS = 8;
/** Ids of requests in bodies, as the copies of a session get new ones. */
const ID_MEMBERS = 'request_id and rid of chat, completions and generate, id of v2 and generate';

const FINDING_TEXTS: Readonly<Record<PayloadFinding, string>> = {
  masked: 'a header, a query value or a part of the body was masked when it was recorded',
  presigned_url: 'a signed link in it may have expired',
  json_web_token: 'a token in it may have expired',
  timestamp: 'a time in it may be checked or cached against',
  server_issued_id: 'it names something the recorded server had made',
  compressed_body: 'its body is compressed, so this audit did not look inside',
};

const ORIGINS = {
  stated: '',
  default: ', by default',
  recording: ' above what production refused, by default',
} as const;

/** The first line of a plan, which needs no roll-ups. */
export function planTitle({
  capture,
  target,
  load,
  window,
}: Pick<PlanFacts, 'capture' | 'target' | 'load' | 'window'>): string {
  const against = target === null ? '' : ` against ${target}`;
  const { multiplier, meanMultiplier = multiplier, ratePerSecond, concurrency } = load;
  const open = stagesText(meanMultiplier, load) ?? `at ${multiplier}x`;
  const inFlight = concurrency === null ? open : `with ${concurrency} in flight at all times`;
  const at = ratePerSecond === null ? inFlight : `at ${ratePerSecond} requests/s`;
  return `Plan: ${capture}${against} ${at}, ${window.from} to ${window.to}`;
}

/** The lines below the title, with what is known before any exchange is read. */
export function planLines(plan: PlanFacts & Partial<AskedPlan>): string[] {
  const { load, expected, durationS, coverage, shiftTime } = plan;
  const { calibration = null, warmup = null, slo = [] } = plan;
  const rate = durationS > 0 ? `${(expected.requests / durationS).toFixed(3)}/s on average` : 'all together';
  const isClosed = load.concurrency !== null;
  return linesOf(
    isClosed
      ? `  a closed loop of ${secondsText(durationS)}: no scheduled latency and no verdict`
      : `  ${countOf(expected.exchanges, 'exchange')} in ${secondsText(durationS)}, ${rate}`,
    assumesCoverage(plan) &&
      (coverage === null
        ? '  coverage unknown: the capture is taken as complete, so the multiplier is of what it holds'
        : `  coverage ${coverage.toFixed(3)}, a lower bound: a recorder was killed, and the load may be higher than given`),
    ceilingLines(plan),
    calibration !== null && `  calibration: ${calibrationText(calibration)}`,
    warmup !== null && `  warm-up: ${warmupText(warmup)}`,
    windowLines(plan),
    !isClosed && peakLines(plan.peak),
    scalingLines(plan),
    sessionOrderLines(plan),
    // With a fixed rate or a closed loop, the number of requests does not depend on the recorded traffic.
    coverage !== null &&
      coverage < 1 &&
      load.ratePerSecond === null &&
      !isClosed &&
      `  coverage ${coverage.toFixed(3)}: extra recorded sessions replace what is missing`,
    shardLines(plan),
    shiftTime.length > 0 &&
      `  times at ${shiftTime.join(', ')} are moved from when they were recorded to when they are sent`,
    slo.map(objectiveText),
    !isClosed && needLines(plan),
    (plan.faults ?? []).map(faultLine),
  );
}

/** The line of an objective in the plan of a run or of a search. */
export function objectiveText({ expression, unit, limit, origin = 'stated' }: PlannedObjective): string {
  return `  objective ${expression}, a limit of ${valueText({ unit }, limit)}${ORIGINS[origin]}`;
}

/** The line about a replay against two targets. */
export function alternationLine({ targets: [a, b], order, atLeastS, mostRuns }: AlternationFacts): string {
  const inOrder = order.length > 2 ? 'A, B, B, A' : 'A, B';
  const more = mostRuns > order.length ? `, and up to ${mostRuns} runs while it is undecided` : '';
  const times = order.length > 4 ? `${order.length / 4} times ` : '';
  return `  ${countOf(order.length, 'run')}, ${times}in the order ${inOrder}, at least ${secondsText(atLeastS)} together${more}: A ${a}, B ${b}`;
}

/** The lines about a plan whose exchanges were read and counted. */
export function countedPlanLines(plan: ReplayPlanDocument): string[] {
  const { connections, fidelity, skipped, planned, refused, maxRatePerSecond: maxRate, shard, target } = plan;
  const { filtered = 0, ...left } = skipped;
  const kinds = Object.entries(left).filter(([, count]) => count > 0);
  // Counts sends, including those of copies. For a capture of arrivals only, all arrivals are planned.
  const sends = kinds
    .filter(([reason]) => plan.sendable || reason !== 'no_payload')
    .reduce((sum, [, count]) => sum + count, planned);
  return linesOf(
    ...valueLines(plan),
    `  connections in use at one time: ${connections.openMax === null ? 'not known: no recorded latency' : `up to ${connections.openMax}, if the target is as fast as what was recorded`}`,
    ['', 'Arrivals'],
    arrivalLines(fidelity),
    unfilteredLines(fidelity),
    playedLines(plan),
    reachedLines(plan),
    ['', 'What will not be sent'],
    shard !== null &&
      sends === 0 &&
      `  this shard replays nothing: no session is assigned to shard ${shard.index}/${shard.count}`,
    kinds.length + filtered === 0 && '  no exchange is excluded by a filter',
    kinds.map(([reason, count]) => `  ${reason}: ${count} of ${sends}`),
    filtered > 0 && `  filtered: ${filtered} of ${plan.recorded}`,
    !plan.sendable && '  This capture has no requests: it can be planned, not replayed.',
    // The requests that --max-rate refuses are known before anything is sent.
    maxRate !== null &&
      `  --max-rate ${maxRate} refuses ${refused === 0 ? 'nothing' : `${refused} of ${planned} planned, and counts them`}`,
    payloadLines(plan.payloads),
    scalingCountLines(plan.scalingPlan.counts),
    // A plan opens no connection to the target, because a server may accept only one.
    target !== null && `Target not tried: ${target}. A run connects to it before it sends.`,
  );
}

/** Lines about the replayed sequence of windows; empty for a single window. */
export function playedLines({
  windows,
  seam,
  passes,
}: Pick<ReplayDocument, 'windows' | 'seam' | 'passes'>): string[] {
  if (seam == null || windows === undefined) return [];
  const each = windows.slice(0, LISTED_WINDOWS).map(({ selected }) => selected);
  const more = windows.length > LISTED_WINDOWS ? ' …' : '';
  return [
    `  windows replayed: ${windows.length}, passes: ${passes}; exchanges by window: ${each.join(', ')}${more}`,
  ];
}

/** The effect of the filters on the arrivals; empty without filters. */
export function unfilteredLines({
  recorded,
  unfiltered,
}: Pick<ReplayPlanDocument['fidelity'], 'recorded' | 'unfiltered'>): string[] {
  if (unfiltered === null) return [];
  const text = (value: number | null) => (value === null ? NONE : value.toFixed(3));
  const { count, ratePerSecond, cv, idc } = unfiltered;
  return [
    `  before the filter: ${countOf(count, 'exchange')} (kept: ${recorded.count}), ${text(ratePerSecond)}/s, CV ${text(cv)}, IDC 1 s ${text(idc['1'])}, 60 s ${text(idc['60'])}`,
  ];
}

/** Lines with the counts of a scaling. */
export function scalingCountLines(counts: ScalingCounts | undefined): string[] {
  if (counts === undefined) return [];
  const { openedBefore } = counts;
  const lines = countLines([
    [counts.thinned, 'exchanges left out with their sessions'],
    [counts.copies, 'copies'],
    [counts.layered, 'from other stretches'],
    [counts.perturbed, 'copies made to differ'],
    [counts.notPerturbed, 'copies without the place that was to differ'],
    [counts.ownPrompts ?? 0, 'copies whose prompt begins with its own words'],
    [counts.samePrompts ?? 0, 'copies whose prompt has too few words for that'],
    [counts.bodiesUnread, 'bodies, compressed or of unknown gRPC services, that keep the recorded names'],
    [counts.forgottenSessions, 'sessions that may have been split: more sent together than are remembered'],
  ]);
  if (openedBefore !== null && openedBefore.exchanges > 0) {
    const { sessions, exchanges, lookbackMs } = openedBefore;
    lines.push(
      `  under way when the window opened, of those that spoke in the ${formatMs(lookbackMs)} before: ${countOf(sessions, 'session')} (${countOf(exchanges, 'exchange')}), replayed from there on`,
    );
  }
  return lines.length === 0 ? [] : ['', 'Scaling', ...lines];
}

/** The requests of calibration and warm-up, and what --max-requests leaves after them. */
function requestsOf({ calibration, warmup, maxRequests }: PlanFacts & Partial<AskedPlan>) {
  const before = (calibration?.plannedRequests ?? 0) + (warmup?.planned ?? 0);
  return { before, left: (maxRequests ?? Number.POSITIVE_INFINITY) - before };
}

/** What --max-requests and --max-rate cut from the plan, estimated before it is read. */
function ceilingLines(plan: PlanFacts & Partial<AskedPlan>): string[] {
  const { maxRequests, maxRatePerSecond, expected, peak } = plan;
  const { before, left } = requestsOf(plan);
  const others = before === 0 ? '' : `, minus about ${before} for calibration and warm-up`;
  return linesOf(
    left < expected.requests && `  at most ${left} of these are sent: --max-requests ${maxRequests}${others}`,
    maxRatePerSecond !== null &&
      maxRatePerSecond < peak.plannedPerSecondAtMost &&
      `  requests over ${maxRatePerSecond} in a second are refused and counted: --max-rate`,
  );
}

function calibrationText(plan: NonNullable<AskedPlan['calibration']>): string {
  const repeated = plan.precedesWindow
    ? ''
    : '; the run repeats them, because the recording starts no earlier';
  return `${secondsText(plan.durationS)} at 1x first, about ${countOf(plan.plannedRequests, 'request')}${repeated}`;
}

function warmupText({ askedS, recordedS, playedS, planned }: NonNullable<AskedPlan['warmup']>): string {
  const asked = secondsText(askedS);
  if (playedS === 0) return `nothing precedes the window; ${asked} were asked for`;
  const short = recordedS < askedS ? ` (the recording starts no earlier; ${asked} were asked for)` : '';
  return `${secondsText(playedS)} before the window${short}, about ${countOf(planned, 'request')}; not measured`;
}

function windowLines(plan: PlanFacts): string[] {
  const { windows, windowSearch, loops, endsWith, repeats, durationS, maxDurationS } = plan;
  const isLooped = loops !== null && loops > 1;
  const named = describeFilters(plan.filters);
  const isCut = maxDurationS !== null && maxDurationS > durationS;
  return linesOf(
    windowSearch !== null && foundText(windowSearch),
    windows.length > 1 && [
      `  ${windows.length} windows, one after the other:`,
      ...windows.slice(0, LISTED_WINDOWS).map(({ from, to }) => `    ${from} to ${to}`),
    ],
    windows.length > LISTED_WINDOWS && `    and ${windows.length - LISTED_WINDOWS} more`,
    isLooped && `  replayed ${endsWith === 'windows' ? '' : 'up to '}${countOf(loops, 'time')}`,
    !isLooped &&
      repeats &&
      `  repeated until the ${endsWith === 'stages' ? 'stages are' : 'duration is'} over`,
    (windows.length > 1 || repeats) &&
      '  seam: edge to edge, with the silence that windows have there, and at least one mean gap',
    repeats && '    payloads, sessions and keys repeat with each pass, and meet warm caches: see duplicates',
    maxDurationS !== null &&
      `  the plan ends after ${secondsText(durationS)} of the run${isCut ? `, with its ${endsWith}: --duration ${secondsText(maxDurationS)} is longer` : ''}`,
    named.length > 0 && [
      `  only ${named.join('; ')}`,
      '    counts and peaks of this plan are for all traffic. Filtered traffic has gaps, other bursts and fewer',
      '    requests together; sessions may lack some of their requests',
    ],
  );
}

const SEARCHED: Readonly<Record<NonNullable<PlanFacts['windowSearch']>['kind'], string>> = {
  busiest: 'busiest',
  slowest: 'slowest (by mean recorded latency)',
  hardest: 'hardest',
};

function foundText(found: NonNullable<PlanFacts['windowSearch']>): string {
  const { kind, fromSecond, toSecond, exchanges, meanLatencyMs } = found;
  const latency = meanLatencyMs === null ? '' : `, mean recorded latency ${formatMs(meanLatencyMs)}`;
  const length = secondsText(toSecond - fromSecond);
  return `  the ${SEARCHED[kind]} ${length} of the capture: ${countOf(exchanges, 'exchange')}${latency}`;
}

function peakLines({ second, recordedPerSecond, plannedPerSecondAtMost }: PlanFacts['peak']): string[] {
  if (second === null) return [];
  return [
    `  peak: ${countOf(recordedPerSecond, 'request')} recorded in the second ${second.slice(0, 19)}Z; at most ${plannedPerSecondAtMost} planned in any second`,
  ];
}

const STAGES_END: Readonly<Record<PlanFacts['endsWith'], string>> = {
  stages: '',
  duration: ', until the duration is over',
  windows: ', to the end of the windows',
  requests: ', to the last of its requests',
};

function scalingLines(plan: PlanFacts): string[] {
  const { scaling, load, scalingPlan, recordedS, endsWith, expected } = plan;
  const { stages, targetShare, keptSessions, timesEach, perturb, layers, jitterMs, seed } = scalingPlan;
  const repeats = timesEach[1] > 1;
  const alters = [...keptSessions, ...timesEach].some((each) => each !== 1);
  return linesOf(
    `  scaling ${scaling}: keeps ${plan.scalingKeeps};`,
    `    changes ${plan.scalingBends}`,
    scalingPlan.reuse !== undefined && `    prompts in a cache: ${scalingPlan.reuse}`,
    stages !== null && [
      `  stages ${stages.join(', ')}${load.multiplier === 1 ? '' : `, each times ${load.multiplier}`}`,
      `    they replay ${secondsText(recordedS)} of the recording${STAGES_END[endsWith]}`,
    ],
    targetShare < 1 &&
      `  target share ${shareText(targetShare)} of what was recorded: sessions are left out first, the multiplier is of what stays`,
    keptSessions[0] < 1 && `  replays ${rangeText(keptSessions, shareText)} of the sessions, each whole`,
    repeats && [
      `  replays each session ${rangeText(timesEach, (times) => times.toFixed(2))} times; copies have their own names and begin up to ${formatMs(jitterMs)} later`,
      `    made new in them: the session's key, trace, request and idempotency headers, and in JSON bodies ${ID_MEMBERS}`,
      scalingPlan.copyPrompts === 'own'
        ? '    their prompts begin with words in another order, of the same length; --scaling copy-prompts=same sends them as recorded'
        : '    their prompts begin as recorded, so a cache has most of each',
      perturb.length === 0
        ? '    other payloads repeat, and may be answered from a cache; --scaling perturb makes them differ'
        : `    copies differ in ${perturb.join(', ')}`,
    ],
    !repeats &&
      perturb.length > 0 &&
      '  no session is replayed more often than once: perturb changes nothing',
    layers.map(
      ({ from, to, exchanges, share }) =>
        `  laid over it: ${from} to ${to}, ${countOf(exchanges, 'exchange')}, ${share < 1 ? shareText(share) : 'all'} of its sessions`,
    ),
    drawnLines(scalingPlan.drawn),
    (alters || layers.length > 0) &&
      `  ${countOf(expected.requests, 'request')} expected, decided by seed ${seed}`,
  );
}

/** Lines if draws cannot reach the requested number. */
function drawnLines(drawn: PlanFacts['scalingPlan']['drawn']): string[] {
  if (drawn == null) return [];
  const { planned, asked, largest } = drawn;
  if (Math.abs(planned - asked) <= JUDGEMENT_BOUNDS.multiplierShare * asked) return [];
  return [
    `  WARNING: sessions are too large to draw: ${planned} requests are planned, not ${Math.round(asked)}`,
    `    the largest has ${largest}, so a run of this plan is INCONCLUSIVE (multiplier_not_reached)`,
    '    Choose a longer window, another --seed, or --scaling compress, which leaves no session out.',
  ];
}

/** What the session order keeps and what it changes. */
function sessionOrderLines({ sessionOrder, scaling, sessionsKnown }: PlanFacts): string[] {
  if (sessionOrder === 'open') return [];
  const think =
    scaling === 'compress' ? 'the recorded think time over the multiplier' : 'the recorded think time';
  return linesOf(
    `  sessions partly open: a follow-up is due when the one before it is over, plus ${think};`,
    '    keeps think times and that a session waits for its answers',
    '    changes arrivals, which follow the target: a slower one is offered less, so this is no capacity for an open load',
    !sessionsKnown &&
      '    no recorder of this capture had a session key: without sessions it is the same as open',
  );
}

/** How many requests wait for values of answers. */
function valueLines({ values = null, planned }: ReplayPlanDocument): string[] {
  if (values === null) return [];
  const { linked, willWait, unissued } = values;
  const share = ((100 * willWait) / Math.max(1, planned)).toFixed(1);
  return linesOf(
    `  values of answers: ${countOf(linked, 'request')} need some; ${willWait} (${share} % of all) will wait for them if the target is as fast as recorded`,
    unissued > 0 && `    ${unissued} values are sent as recorded: what issued them is not in the plan`,
  );
}

function shardLines({ shard, startAt }: PlanFacts): string[] {
  return linesOf(
    shard !== null && [
      `  shard ${shard.index} of ${shard.count}, counted from 0: figures here are for all shards; this one replays its share of the sessions`,
      '    --max-rate and --max-requests limit all shards together, --max-in-flight only this process',
    ],
    startAt !== null && `  starts at ${startAt}, by the clock of this host`,
    shard !== null &&
      startAt === null &&
      '    no --shard start: shards that do not begin together are late by the difference',
  );
}

/** The answers that objectives need: of all of them with `--confidence until-sure`, otherwise of those out of reach. */
function needLines(plan: PlanFacts & Partial<AskedPlan>): string[] {
  const { untilSure = null, needs = [] } = plan;
  const requests = Math.min(plan.expected.requests, requestsOf(plan).left);
  return linesOf(
    untilSure !== null && looksText(untilSure),
    needs
      .filter(({ reachable }) => untilSure !== null || !reachable)
      .map(({ expression, answers, atLeastS, reachable }) => {
        const time = atLeastS === null ? '' : `, at least ${secondsText(atLeastS)} at this rate`;
        const short = `; WARNING: the plan has about ${countOf(requests, 'request')}, so PASS is impossible`;
        return `  ${expression} needs ${countOf(answers, 'answer')}${time}${reachable ? '' : short}`;
      }),
    (untilSure?.openToTheEnd ?? []).map(
      (each) => `  ${each} is known only at the end, so the run does not end early`,
    ),
  );
}

function looksText({ looksAtS, confidence, confidenceEach }: NonNullable<AskedPlan['untilSure']>): string {
  const each = `${percent(confidenceEach)} each, ${percent(confidence)} together`;
  return `  until sure: judged at most ${countOf(looksAtS.length, 'time')}, after ${looksAtS.map(secondsText).join(', ')}; confidence ${each}`;
}

/** A planned fault: what fails, when, and what judges it. */
function faultLine(planned: AskedPlan['faults'][number]): string {
  const { name, fault, attributes, proxy, control, fromS, toS, recoveryS, during } = planned;
  const terms = Object.entries(attributes).map(([key, set]) => ` ${key}=${set}`);
  const judged = during.length === 0 ? "the run's objectives" : during.join('; ');
  const recovery = recoveryS === 0 ? '' : `, then ${secondsText(recoveryS)} to recover`;
  return `Fault ${name}: ${fault}${terms.join('')} on ${proxy} (${control}), from ${secondsText(fromS)} to ${secondsText(toS)} of the run${recovery}; judged by ${judged}`;
}

function arrivalLines({
  recorded,
  planned,
  recordedToPlanned,
  duplicateRatio,
}: ReplayPlanDocument['fidelity']): string[] {
  const text = (value: number | null, digits: number) => (value === null ? NONE : value.toFixed(digits));
  const row = (name: string, value: (figures: ArrivalFigures) => number | null, digits: number) => [
    `  ${name}`,
    text(value(recorded), digits),
    text(value(planned), digits),
  ];
  return [
    ...tableLines(columnsOf([''], ['recorded', 'planned']), [
      row('exchanges', ({ count }) => count, 0),
      row('requests/s', ({ ratePerSecond }) => ratePerSecond, 3),
      row('most in 1 s, counted from the first', ({ peak1s }) => peak1s, 0),
      row('CV of gaps', ({ cv }) => cv, 3),
      ...IDC_WINDOWS.map((window: IdcWindow) => row(`IDC ${window} s`, ({ idc }) => idc[window], 3)),
      row('ties', ({ ties }) => ties, 4),
    ]),
    `  gaps recorded to planned: KS ${text(recordedToPlanned.ksGaps, 4)}; mix ${text(recordedToPlanned.mixDistance, 4)}; duplicates ${text(duplicateRatio, 4)}`,
  ];
}

/** Where --max-requests ends the plan, and the multiplier that it comes to. */
function reachedLines(plan: ReplayPlanDocument): string[] {
  const reached = reachedText(plan);
  return linesOf(
    plan.endsWith === 'requests' &&
      `  the plan ends after ${secondsText(plan.durationS)} of the run, with its requests: --max-requests`,
    reached !== null && `  the plan is ${reached}; asked for: ${formatMultiplier(plan.multiplier)}`,
    plan.notes
      .filter(({ code }) => code !== 'coverage_assumed')
      .flatMap(({ code, text, advice }) => [`  NOTE: ${text} (${code})`, `    ${advice}`]),
    plan.reasons.flatMap(({ code, advice }) => [
      `  WARNING: not enough for a verdict of PASS or a valid run (${code})`,
      `    ${advice}`,
    ]),
  );
}

function payloadLines({
  sampled,
  comparableAnswers,
  found,
  unreplayableByReason,
}: ReplayPlanDocument['payloads']): string[] {
  if (sampled === 0) return ['  no payload was looked into'];
  const refused = Object.entries(unreplayableByReason).map(
    ([reason, count]) => `  unreplayable (${reason}): ${count} of ${sampled} sampled`,
  );
  const findings = PAYLOAD_FINDINGS.filter((finding) => found[finding] > 0).map(
    (finding) => `  ${finding}: ${found[finding]} of ${sampled} sampled: ${FINDING_TEXTS[finding]}`,
  );
  return linesOf(
    refused,
    findings,
    refused.length + findings.length === 0 && `  nothing was found in ${sampled} sampled payloads`,
    `  answers that --check can compare by value: those of ${comparableAnswers} of ${sampled} sampled`,
  );
}

function secondsText(seconds: number): string {
  return formatMs(seconds * 1e3);
}

function rangeText([least, most]: readonly [number, number], text: (value: number) => string): string {
  return least === most ? text(most) : `${text(least)} to ${text(most)}`;
}

function shareText(share: number): string {
  return `${Number((share * 100).toPrecision(4))} %`;
}
