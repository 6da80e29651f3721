import { JUDGEMENT_BOUNDS } from '../../analysis/verdict/run-context.ts';
import { AppError } from '../../core/errors.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { linesOf } from '../../core/text.ts';
import { countOf, formatInstantUs, formatMs } from '../../core/units.ts';
import type { ArrivalFigures, JudgementBounds } from '../../documents/replay.ts';
import { describeFilters } from '../../replay/filter.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import { balanced } from '../../replay/plan/balance.ts';
import { scalingDocument, scalingLines } from '../../replay/plan/describe-scaling.ts';
import { type Forecast, forecastOf, planEndOf } from '../../replay/plan/forecast.ts';
import type { FixedRate } from '../../replay/plan/rate.ts';
import { Scaling } from '../../replay/plan/scaling.ts';
import { RateCurve } from '../../replay/plan/stages.ts';
import { chooseLayers, layeredArrivals } from '../../replay/plan/superpose.ts';
import { type Warmup, warmupBefore } from '../../replay/plan/warmup.ts';
import { arrivalsAlone, type CaptureOverview, skipReasonOf } from '../../replay/window/capture.ts';
import { LONE_SEAM_US, type Playback } from '../../replay/window/playback.ts';
import { chooseWindow, type ReplayWindow } from '../../replay/window/window.ts';
import type { OpenedCapture } from '../open-capture.ts';
import { sessionOrderLines } from './document.ts';
import { assertScalable, playbackOf, windowLines, windowsDocument, withinWindow } from './windows.ts';

/** The plan of a replay, made before any exchange is read. */
export interface ReplayPlan {
  readonly options: ReplayOptions;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
}

/** The selected part of a capture, before its roll-ups are summed. */
export interface ReplayChoice extends Omit<ReplayPlan, 'forecast'> {
  readonly source: Playback;
  /** Share of recorded traffic that is missing without sampling or omission as the reason; null if unknown. */
  readonly unexplained: number | null;
}

/**
 * Chooses the windows and their scaling. It reads exchanges only for superposed parts, or if sessions are drawn.
 * @throws AppError CAPTURE_EMPTY for empty windows, OPTION_INVALID if the capture lacks the requested traffic
 */
export function chooseReplay(opened: OpenedCapture, asked: ReplayOptions): ReplayChoice {
  const options =
    asked.rate === null ? asked : { ...asked, multiplier: multiplierOf(asked.rate, opened, asked) };
  const curve = new RateCurve(options.multiplier, options.stages);
  // The slowest pace limits the length of a window.
  const pace = options.scaling === 'compress' || options.rate !== null ? curve.min : 1;
  const chosen = chooseWindow(opened.overview, options.window, pace, curve.durationNs);
  assertScalable(options, chosen);
  const { overview, unexplained } = withinWindow(opened, chosen);
  const source = playbackOf(opened.source, chosen, options.filters);
  const scaling = scalingOf(options, overview, source, chosen);
  const window = { ...chosen, plannedSpanNs: planEndOf(scaling, chosen).offsetNs };
  return { options, overview, window, scaling, source, unexplained };
}

/**
 * Converts a rate to a multiple of the window's recorded rate, by roll-ups. It estimates how far a run gets in the
 * recording. The run itself uses the rows that it reads.
 */
function multiplierOf({ perSecond }: FixedRate, { overview }: OpenedCapture, options: ReplayOptions): number {
  if (overview.arrivalsOnly) throw arrivalsAlone(overview.name);
  const { parts, onceNs } = chooseWindow(overview, options.window, 1);
  const once = { parts, loops: 1, durationNs: null };
  const asRecorded = new Scaling({ ...options, scaling: 'compress', multiplier: 1, rate: null }, 1);
  const { exchanges } = forecastOf(overview, once, asRecorded);
  return (perSecond * Math.max(onceNs, LONE_SEAM_US * 1e3)) / 1e9 / Math.max(1, exchanges);
}

/** The plan of a choice, with the forecast of its load. */
export function planOf({ options, overview, window, scaling, source }: ReplayChoice): ReplayPlan {
  const forecast = forecastOf(overview, window, scaling, source.isSelective);
  return { options, overview, window, scaling, forecast };
}

const NO_PRELUDE: Prelude = { calibration: null, warmup: null };

/** The first line of a plan, which needs no roll-ups. */
export function planTitle({ options, overview, window }: Omit<ReplayPlan, 'forecast'>): string {
  const against = options.target === null ? '' : ` against ${options.target.url}`;
  const from = formatInstantUs(window.fromUs);
  const to = formatInstantUs(window.toUs - 1);
  return `Plan: ${overview.name}${against} ${loadText(options)}, ${from} to ${to}`;
}

function loadText({ rate, concurrency, multiplier }: ReplayOptions): string {
  if (rate !== null) return `at ${rate.perSecond} requests/s`;
  return concurrency === null ? `at ${multiplier}x` : `with ${concurrency} in flight at all times`;
}

/** The lines below the title. @param prelude replayed before the plan; its requests count as sent */
export function planLines(plan: ReplayPlan, prelude: Prelude = NO_PRELUDE): string[] {
  const { options, window, forecast, overview, scaling } = plan;
  const end = planEndOf(scaling, window);
  const spanMs = window.plannedSpanNs / 1e6;
  const rate =
    spanMs > 0 ? `${(forecast.plannedExchanges / (spanMs / 1e3)).toFixed(3)}/s on average` : 'all at once';
  const { coverage } = overview;
  const pointers = options.shiftTime.map(({ pointer }) => pointer).join(', ');
  return linesOf(
    options.concurrency === null
      ? `  ${countOf(forecast.exchanges, 'exchange')} in ${formatMs(spanMs)}, ${rate}`
      : `  a closed loop of ${formatMs(spanMs)}: no scheduled latency and no verdict`,
    ceilingLines(plan, prelude),
    prelude.calibration !== null && `  calibration: ${calibrationText(prelude.calibration)}`,
    prelude.warmup !== null && `  warm-up: ${warmupText(prelude.warmup)}`,
    windowLines(window, end, options.filters),
    forecast.peakSecond !== null && options.concurrency === null && peakLine(forecast.peakSecond, forecast),
    scalingLines(scaling, end, window, forecast, JUDGEMENT_BOUNDS.multiplierShare),
    sessionOrderLines(options, overview),
    // With a fixed rate or a closed loop, the number of requests does not depend on the recorded traffic.
    coverage !== null &&
      coverage < 1 &&
      options.rate === null &&
      options.concurrency === null &&
      `  coverage ${coverage.toFixed(3)}: extra recorded sessions replace what is missing`,
    shardLines(options),
    pointers !== '' && `  times at ${pointers} are moved from when they were recorded to when they are sent`,
  );
}

/** The plan as a document for programs. */
export function planDocument(plan: ReplayPlan) {
  const { options, overview, window, forecast, scaling } = plan;
  const scalingPlan = scalingDocument(scaling, window, forecast);
  return {
    capture: overview.name,
    target: options.target?.url ?? null,
    window: { from: formatInstantUs(window.fromUs), to: formatInstantUs(window.toUs - 1) },
    ...windowsDocument(window, options.filters, null),
    multiplier: askedMultiplier(plan),
    scaling: options.scaling,
    scalingKeeps: scalingPlan.keeps,
    scalingBends: scalingPlan.bends,
    scalingPlan,
    sessionOrder: options.sessionOrder,
    maxRequests: options.maxRequests,
    shard: options.shard,
    startAt: options.startAtUs === null ? null : formatInstantUs(options.startAtUs),
    durationS: window.plannedSpanNs / 1e9,
    endsWith: planEndOf(scaling, window).with,
    peak: {
      second: forecast.peakSecond === null ? null : formatInstantUs(forecast.peakSecond * 1e6),
      recordedPerSecond: forecast.recordedPeakPerSecond,
      plannedPerSecondAtMost: forecast.plannedPeakPerSecond,
    },
    coverage: overview.coverage,
    shiftTime: options.shiftTime.map(({ pointer }) => pointer),
  };
}

/** What --max-requests and --max-rate cut from the plan, estimated before it is read. */
function ceilingLines(plan: ReplayPlan, prelude: Prelude): string[] {
  const { maxRequests, maxRatePerSecond } = plan.options;
  const { plannedExchanges, plannedPeakPerSecond } = plan.forecast;
  const left = requestsLeft(plan, prelude) ?? Number.POSITIVE_INFINITY;
  const before = requestsOf(prelude);
  const others = before === 0 ? '' : `, minus about ${before} for calibration and warm-up`;
  return linesOf(
    left < plannedExchanges && `  at most ${left} of these are sent: --max-requests ${maxRequests}${others}`,
    maxRatePerSecond !== null &&
      maxRatePerSecond < plannedPeakPerSecond &&
      `  requests over ${maxRatePerSecond} in a second are refused and counted: --max-rate`,
  );
}

function peakLine(peakSecond: number, { recordedPeakPerSecond, plannedPeakPerSecond }: Forecast): string {
  const at = formatInstantUs(peakSecond * 1e6).slice(0, 19);
  return `  busiest second by the clock, ${at}Z: ${recordedPeakPerSecond} recorded; the plan sends ${plannedPeakPerSecond} or fewer in any second (an upper bound)`;
}

/** Notes on a shard before it is replayed. */
function shardLines({ shard, startAtUs }: ReplayOptions): string[] {
  return linesOf(
    shard !== null && [
      `  shard ${shard.index} of ${shard.count}, counted from 0: figures here are for all shards; this one plays its share of the sessions`,
      '    --max-rate and --max-requests limit all shards together, --max-in-flight only this process',
    ],
    startAtUs !== null && `  starts at ${formatInstantUs(startAtUs)}, by the clock of this host`,
    shard !== null &&
      startAtUs === null &&
      '    no --start-at: shards that do not begin together are late by the difference',
  );
}

/** The stated limits of the judgement. Others keep their defaults. */
export function statedBounds({
  lagBound,
  confidence,
}: Pick<ReplayOptions, 'lagBound' | 'confidence'>): Partial<JudgementBounds> {
  return {
    confidence,
    ...(lagBound.lagMs === null ? {} : { lagNs: lagBound.lagMs * 1e6 }),
    ...(lagBound.share === null ? {} : { lagShare: lagBound.share }),
  };
}

/**
 * The scaling of the window. Create a new one for each pass.
 * @throws AppError OPTION_INVALID if the capture lacks the requested traffic
 */
export function scalingOf(
  options: ReplayOptions,
  overview: CaptureOverview,
  source: CaptureSource,
  window: TimeRange & Pick<ReplayWindow, 'durationNs'>,
): Scaling {
  const { coverage, arrivalsOnly } = overview;
  const plain = new Scaling(options, coverage);
  const layers = layersOf(plain, options, overview, source, window);
  const scaling = layers === undefined ? plain : new Scaling(options, coverage, layers);
  return balanced(scaling, {
    arrivals: () => layeredArrivals(source, window, scaling.layers),
    counts: (row) => arrivalsOnly || skipReasonOf(row) === null,
    durationNs: window.durationNs,
    maxRequests: options.maxRequests,
  });
}

function layersOf(
  scaling: Scaling,
  options: ReplayOptions,
  overview: CaptureOverview,
  source: CaptureSource,
  { fromUs, toUs }: TimeRange,
): Scaling['layers'] | undefined {
  if (options.scaling !== 'superpose') return undefined;
  const played = { fromUs, toUs: Math.min(toUs, Math.ceil(fromUs + scaling.endUs)) };
  const isFiltered = describeFilters(options.filters).length > 0;
  return chooseLayers(overview, source, played, scaling.curve.max, isFiltered);
}

/** The requested multiplier. With stages, their mean over this window. */
export function askedMultiplier({ scaling, window, forecast, options }: ReplayPlan): number {
  if (options.stages === null) return options.multiplier;
  if (options.scaling === 'compress') return playedPace(scaling, window);
  return forecast.timesEach / scaling.coverageFactor / options.targetShare;
}

/** The part of a plan that was read or replayed. */
interface PlanReading {
  readonly recorded: Pick<ArrivalFigures, 'count' | 'ratePerSecond'>;
  readonly planned: number;
  /** Whether it ended early, by a stop or by the limit of requests. */
  readonly isCut: boolean;
}

/**
 * The requested multiplier, and the pace of the plan. With a fixed rate both are relative to the recorded rate of the
 * rows that were read. Then the multiplier is reached if the requested number of requests was planned. For a closed
 * loop it is the actual multiplier of its load.
 */
export function reckoningOf(plan: ReplayPlan, { recorded, planned, isCut }: PlanReading) {
  const { options, scaling, window, overview } = plan;
  const { rate, concurrency } = options;
  const { count, ratePerSecond } = recorded;
  if (concurrency !== null && ratePerSecond !== null) {
    const came = planned / (window.plannedSpanNs / 1e9) / ratePerSecond;
    return { multiplier: came * (overview.coverage ?? 1), pace: (came * count) / Math.max(1, planned) };
  }
  if (rate === null || ratePerSecond === null || scaling.instants === null) {
    return { multiplier: askedMultiplier(plan), pace: playedPace(scaling, window) };
  }
  const played = rate.perSecond / ratePerSecond;
  const asked = isCut ? planned : scaling.instants.count;
  return { multiplier: played * (overview.coverage ?? 1), pace: (played * count) / Math.max(1, asked) };
}

/** Mean recorded time per second of the run. */
export function playedPace(scaling: Scaling, window: ReplayWindow): number {
  return scaling.meanPace(planEndOf(scaling, window).playedUs);
}

/** The parts replayed before the judged part; each null if it was not requested. */
export interface Prelude {
  readonly calibration: CalibrationPlan | null;
  readonly warmup: Warmup | null;
}

/**
 * Plans the parts that are replayed before the judged part.
 * @param source the source of the plan
 * @param capture the opened capture
 * @throws AppError OPTION_INVALID if --max-requests leaves nothing to judge
 */
export function preludeOf(plan: ReplayPlan, source: CaptureSource, capture: CaptureSource): Prelude {
  const { overview, window, scaling, options } = plan;
  const { warmupMs: askedMs, maxRequests } = options;
  const warmup =
    askedMs === null ? null : warmupBefore({ askedMs, overview, source, window, scaling, maxRequests });
  const prelude = { warmup, calibration: calibrationPlanOf(plan, warmup, capture) };
  assertRequestsLeft(maxRequests, requestsOf(prelude));
  return prelude;
}

/** The expected number of requests before the judged part. */
function requestsOf({ calibration, warmup }: Prelude): number {
  return (calibration?.plannedRequests ?? 0) + (warmup?.plannedExchanges ?? 0);
}

/** The part of --max-requests that is left for the judged part; null without a limit. */
export function requestsLeft({ options }: ReplayPlan, prelude: Prelude): number | null {
  return options.maxRequests === null ? null : options.maxRequests - requestsOf(prelude);
}

/** The estimated number of requests in the judged part, before the plan is read. */
export function expectedRequests(plan: ReplayPlan, prelude: Prelude): number {
  return Math.min(plan.forecast.plannedExchanges, requestsLeft(plan, prelude) ?? Number.POSITIVE_INFINITY);
}

/**
 * Checks that --max-requests leaves requests for the judged part. The limit applies to everything that is sent.
 * @param before number of requests before the judged part
 * @throws AppError OPTION_INVALID
 */
export function assertRequestsLeft(maxRequests: number | null, before: number): void {
  if (maxRequests === null || before === 0 || before < maxRequests) return;
  throw new AppError(
    'OPTION_INVALID',
    `--max-requests ${maxRequests} leaves nothing to judge: calibration and warm-up take about ${before}`,
    { hint: 'It limits all requests of the run. Raise it, or shorten calibration and warm-up.' },
  );
}

function calibrationText({ plan, plannedRequests, precedesWindow }: CalibrationPlan): string {
  const { window } = plan;
  const requests = `about ${countOf(plannedRequests, 'request')}`;
  const repeated = precedesWindow ? '' : '; the run repeats them, because the recording starts no earlier';
  return `${formatMs(window.plannedSpanNs / 1e6)} at 1x first, ${requests}${repeated}`;
}

function warmupText({ askedNs, recordedNs, spanNs, plannedExchanges }: Warmup): string {
  const asked = formatMs(askedNs / 1e6);
  if (spanNs === 0) return `nothing precedes the window; ${asked} were asked for`;
  const short = recordedNs < askedNs ? ` (the recording starts no earlier; ${asked} were asked for)` : '';
  const requests = `about ${countOf(plannedExchanges, 'request')}; not measured`;
  return `${formatMs(spanNs / 1e6)} before the window${short}, ${requests}`;
}

/** Some minutes of the recording at 1x, replayed before the run to compare the target with the recording. */
export interface CalibrationPlan {
  readonly plan: ReplayPlan;
  readonly source: Playback;
  /** Estimated from roll-ups, and limited by the allowed number. */
  readonly plannedRequests: number;
  /** Whether it is before the window. Otherwise it is the start of the window, and the run repeats these requests. */
  readonly precedesWindow: boolean;
}

/**
 * The plan of the calibration; null if it was not requested.
 * @param plan the plan of the run
 * @param capture the opened capture
 */
function calibrationPlanOf(
  plan: ReplayPlan,
  warmup: Warmup | null,
  capture: CaptureSource,
): CalibrationPlan | null {
  const { calibrateMs } = plan.options;
  if (calibrateMs === null) return null;
  const options = atOnce(plan.options);
  const { range, precedes } = stretchFor(plan, warmup, calibrateMs);
  const asked = { ...options.window, ranges: [range], search: null, loops: 1, durationMs: null };
  const window = chooseWindow(plan.overview, asked, 1);
  const source = playbackOf(capture, window, options.filters);
  const scaling = scalingOf(options, plan.overview, source, window);
  const forecast = forecastOf(plan.overview, window, scaling, source.isSelective);
  const own = { options, overview: plan.overview, window, scaling, forecast };
  const { maxRequests } = options;
  const plannedRequests = Math.min(forecast.plannedExchanges, maxRequests ?? Number.POSITIVE_INFINITY);
  return { plan: own, source, plannedRequests, precedesWindow: precedes };
}

/** The options without scaling and judgement. It starts at once, because a start time is for the run. */
export function atOnce(options: ReplayOptions): ReplayOptions {
  return {
    ...options,
    multiplier: 1,
    stages: null,
    scaling: 'compress',
    rate: null,
    concurrency: null,
    perturb: [],
    startAtUs: null,
    sessionOrder: 'open',
    check: null,
  };
}

/**
 * The part before the window and its warm-up, so that calibration does not fill caches with the run's requests. If the
 * recording starts too late for that, the start of the window.
 */
function stretchFor(
  { overview, window }: ReplayPlan,
  warmup: Warmup | null,
  calibrateMs: number,
): { readonly range: TimeRange; readonly precedes: boolean } {
  const lengthUs = Math.round(calibrateMs * 1e3);
  const first = window.parts[0] ?? window;
  const beforeUs = warmup === null ? first.fromUs : warmup.range.fromUs;
  if (beforeUs - lengthUs >= (overview.firstArrivalUs ?? first.fromUs)) {
    return { range: { fromUs: beforeUs - lengthUs, toUs: beforeUs }, precedes: true };
  }
  return {
    range: { fromUs: first.fromUs, toUs: Math.min(first.toUs, first.fromUs + lengthUs) },
    precedes: false,
  };
}
