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

/** What is known before an exchange is read. */
export interface ReplayPlan {
  readonly options: ReplayOptions;
  readonly overview: CaptureOverview;
  readonly window: ReplayWindow;
  readonly forecast: Forecast;
  readonly scaling: Scaling;
}

/** What is played of a capture, before its roll-ups are summed. */
export interface ReplayChoice extends Omit<ReplayPlan, 'forecast'> {
  readonly source: Playback;
  /** Recorded traffic that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
}

/**
 * Chooses the windows and how they are scaled. It reads exchanges only where stretches are laid over each other, or
 * where sessions are drawn.
 * @throws AppError CAPTURE_EMPTY where nothing lies in them, OPTION_INVALID where the capture does not hold what is
 *   asked for
 */
export function chooseReplay(opened: OpenedCapture, asked: ReplayOptions): ReplayChoice {
  const options =
    asked.rate === null ? asked : { ...asked, multiplier: multiplierOf(asked.rate, opened, asked) };
  const curve = new RateCurve(options.multiplier, options.stages);
  // The slowest that time passes decides how long a window may last.
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
 * A rate as a multiple of the recorded rate of the window, by its roll-ups. It is an estimate of how far into the
 * recording a run comes. The run itself uses what it read.
 */
function multiplierOf({ perSecond }: FixedRate, { overview }: OpenedCapture, options: ReplayOptions): number {
  if (overview.arrivalsOnly) throw arrivalsAlone(overview.name);
  const { parts, onceNs } = chooseWindow(overview, options.window, 1);
  const once = { parts, loops: 1, durationNs: null };
  const asRecorded = new Scaling({ ...options, scaling: 'compress', multiplier: 1, rate: null }, 1);
  const { exchanges } = forecastOf(overview, once, asRecorded);
  return (perSecond * Math.max(onceNs, LONE_SEAM_US * 1e3)) / 1e9 / Math.max(1, exchanges);
}

/** The choice with what it will ask of the target. */
export function planOf({ options, overview, window, scaling, source }: ReplayChoice): ReplayPlan {
  const forecast = forecastOf(overview, window, scaling, source.isSelective);
  return { options, overview, window, scaling, forecast };
}

const NO_PRELUDE: Prelude = { calibration: null, warmup: null };

/** Its first line, which needs no roll-ups. */
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

/** The lines below the title. @param prelude played before the plan; its requests count as sent */
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
    // A rate or a closed loop of its own says how many requests there are, whatever was recorded.
    coverage !== null &&
      coverage < 1 &&
      options.rate === null &&
      options.concurrency === null &&
      `  coverage ${coverage.toFixed(3)}: extra recorded sessions replace what is missing`,
    shardLines(options),
    pointers !== '' && `  times at ${pointers} are moved from when they were recorded to when they are sent`,
  );
}

/** The same for a program. */
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

/** What a reader should know of a shard before it is played. */
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

/** The bounds of the judgement that were stated; the others stay as they are. */
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
 * How the window is scaled. To be made anew for each pass over it.
 * @throws AppError OPTION_INVALID where the capture does not hold what is asked for
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

/** The multiplier that was asked for: with stages, the mean of what they ask of this window. */
export function askedMultiplier({ scaling, window, forecast, options }: ReplayPlan): number {
  if (options.stages === null) return options.multiplier;
  if (options.scaling === 'compress') return playedPace(scaling, window);
  return forecast.timesEach / scaling.coverageFactor / options.targetShare;
}

/** What of a plan was read, or played. */
interface PlanReading {
  readonly recorded: Pick<ArrivalFigures, 'count' | 'ratePerSecond'>;
  readonly planned: number;
  /** Ended before its time, by a stop or by the most requests that may be sent. */
  readonly isCut: boolean;
}

/**
 * The multiplier that was asked for, and the pace of the plan. With a fixed rate both are relative to the recorded rate
 * of the rows that were read. The multiplier is reached if as many requests were planned as asked. A closed loop has
 * the multiplier that its load came to.
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

/** Recorded time that passes in a second of the run, on average. */
export function playedPace(scaling: Scaling, window: ReplayWindow): number {
  return scaling.meanPace(planEndOf(scaling, window).playedUs);
}

/** What is played before the judged part; each null where it was not asked for. */
export interface Prelude {
  readonly calibration: CalibrationPlan | null;
  readonly warmup: Warmup | null;
}

/**
 * What is played before the judged part of a plan.
 * @param source as the plan plays it
 * @param capture as it was opened
 * @throws AppError OPTION_INVALID where --max-requests leaves nothing of it to judge
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

/** How many requests of it are expected. */
function requestsOf({ calibration, warmup }: Prelude): number {
  return (calibration?.plannedRequests ?? 0) + (warmup?.plannedExchanges ?? 0);
}

/** What --max-requests leaves to the judged part; null where nothing bounds it. */
export function requestsLeft({ options }: ReplayPlan, prelude: Prelude): number | null {
  return options.maxRequests === null ? null : options.maxRequests - requestsOf(prelude);
}

/** Requests of the judged part, as the plan tells them before it is read. */
export function expectedRequests(plan: ReplayPlan, prelude: Prelude): number {
  return Math.min(plan.forecast.plannedExchanges, requestsLeft(plan, prelude) ?? Number.POSITIVE_INFINITY);
}

/**
 * The ceiling holds for all that is sent, and what comes first may not leave the judged part without any.
 * @param before requests that come first
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

/** Some minutes of the recording at 1x, played before the run to compare the target with them. */
export interface CalibrationPlan {
  readonly plan: ReplayPlan;
  readonly source: Playback;
  /** Estimated from roll-ups; no more than may be sent. */
  readonly plannedRequests: number;
  /** Before the window; else its begin, so that the run repeats these requests. */
  readonly precedesWindow: boolean;
}

/**
 * What is played to calibrate; null where that was not asked for.
 * @param plan of the run it precedes
 * @param capture as it was opened
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

/** Nothing that scales, and nothing that judges; begun as soon as it can be: a start that was set is the run's. */
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
