import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { picked } from '../../core/picked.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { countOf, formatInstantUs } from '../../core/units.ts';
import type {
  ArrivalFigures,
  JudgementBounds,
  ScalingPlan,
  WindowsDocument,
} from '../../documents/replay.ts';
import { describeFilters, type PlanFacts } from '../../documents/replay-plan.ts';
import { rowFilterOf } from '../../replay/filter.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import type { Filters } from '../../replay/options/window-options.ts';
import { type Forecast, forecastOf, planEndOf } from '../../replay/plan/forecast.ts';
import { hasLinks } from '../../replay/plan/links.ts';
import type { FixedRate } from '../../replay/plan/rate.ts';
import { defaultScaling, SCALING_KINDS, Scaling, STAGES_BEND } from '../../replay/plan/scaling.ts';
import { RateCurve, stageText } from '../../replay/plan/stages.ts';
import { chooseLayers, layeredArrivals, shifted } from '../../replay/plan/superpose.ts';
import { thinned } from '../../replay/plan/thinning.ts';
import { type Warmup, warmupBefore } from '../../replay/plan/warmup.ts';
import { placeText } from '../../replay/request/copy-identity.ts';
import { arrivalsAlone, type CaptureOverview, skipReasonOf } from '../../replay/window/capture.ts';
import { isSequence, LONE_SEAM_US, Playback } from '../../replay/window/playback.ts';
import { nothingSelected } from '../../replay/window/probe.ts';
import { chooseWindow, type ReplayWindow } from '../../replay/window/window.ts';
import type { OpenedCapture } from '../open-capture.ts';

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
  const choice = chooseScaled(
    opened,
    asked.rate === null ? asked : { ...asked, multiplier: multiplierOf(asked.rate, opened, asked) },
  );
  return needsCopies(opened, choice)
    ? chooseScaled(opened, { ...choice.options, scaling: 'amplify' })
    : choice;
}

function needsCopies(opened: OpenedCapture, choice: ReplayChoice): boolean {
  const { isScalingDefault, scaling } = choice.options;
  const { min, max } = choice.scaling.curve;
  if (!isScalingDefault || scaling !== 'compress' || defaultScaling(min, max, true) === scaling) return false;
  return awaitsValues(opened, choice);
}

/** Whether requests of a replay need values of answers. */
export function awaitsValues(
  { source, overview }: Pick<OpenedCapture, 'source' | 'overview'>,
  { options, window }: ReplayChoice,
): boolean {
  if (options.liveValues === null || overview.sessionKeys.length === 0) return false;
  return hasLinks(source, window.parts);
}

function chooseScaled(opened: OpenedCapture, options: ReplayOptions): ReplayChoice {
  const curve = new RateCurve(options.multiplier, options.stages);
  // The slowest pace limits the length of a window.
  const pace = options.scaling === 'compress' || options.rate !== null ? curve.min : 1;
  const chosen = chooseWindow(opened.overview, options.window, pace, curve.durationNs);
  assertScalable(options, chosen);
  const { coverage, unexplained, isAtLeast } = opened.coverageWithin(chosen.coverageRanges);
  const overview = { ...opened.overview, coverage, coverageIsAtLeast: isAtLeast };
  const source = playbackOf(opened.source, chosen, options.filters);
  const scaling = scalingOf(options, overview, source, chosen);
  const window = { ...chosen, plannedSpanNs: planEndOf(scaling, chosen).offsetNs };
  return { options, overview, window, scaling, source, unexplained };
}

/** The source of a plan. Create a new one for each pass over the plan. */
export function playbackOf(source: CaptureSource, window: ReplayWindow, filters: Filters): Playback {
  return new Playback({ source, window, selection: rowFilterOf(filters, (row) => source.payload(row)) });
}

/**
 * Reads up to the first exchange that the filters select, so that a misspelt filter is an error before a line of the
 * plan is printed.
 * @throws AppError CAPTURE_EMPTY
 */
export function requireSelected(
  opened: OpenedCapture,
  { source, window, options: { filters } }: ReplayChoice,
): void {
  if (!source.isSelective) return;
  const selected = playbackOf(opened.source, window, filters);
  for (const _ of selected.rows()) return;
  throw nothingSelected(selected, filters);
}

/** @throws AppError OPTION_INVALID for superposed parts with a sequence of windows */
function assertScalable({ scaling }: ReplayOptions, window: ReplayWindow): void {
  if (scaling !== 'superpose' || !isSequence(window)) return;
  throw new AppError('OPTION_INVALID', '--scaling superpose needs one window that is replayed once', {
    hint: 'Give one window without --loop or --duration, or use --scaling amplify.',
  });
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

/**
 * The error for a plan above what its sender threads can send. Null if `--max-rate` limits it, or if filters leave the
 * rate unknown.
 */
export function beyondSenders(
  { options, forecast, scaling }: ReplayPlan,
  { isSelective }: Playback,
): AppError | null {
  const { threads: senders, shard, concurrency, maxRatePerSecond } = options;
  // The upper bound of a scaled plan can be twice its true peak, which is about that of the recording, multiplied.
  const scaled = scaling.instants === null ? forecast.recordedPeakPerSecond * scaling.curve.max : Infinity;
  const peakPerSecond = Math.min(forecast.plannedPeakPerSecond, scaled);
  const perSecond = Math.ceil(peakPerSecond / (shard?.count ?? 1));
  const most = senders * LIMITS.sendsPerSecond;
  if (concurrency !== null || maxRatePerSecond !== null || isSelective || perSecond <= most) return null;
  const threads = countOf(senders, 'sender thread');
  return new AppError(
    'OPTION_INVALID',
    `The plan has up to ${perSecond} requests in a second, and ${threads} cannot send ${most}`,
    {
      hint: 'Lower --rate or --multiplier, or use more --threads or --shard. --max-rate N sends at most N in a second.',
    },
  );
}

function stageMultipliersOf({ constant, min, max }: RateCurve): [number, number] | undefined {
  return constant ? undefined : [min, max];
}

/** The first facts of a plan, which need no roll-ups. */
export function choiceFacts({ options, overview, window, scaling }: Omit<ReplayPlan, 'forecast'>) {
  const { curve } = scaling;
  const { multiplier, rate, concurrency } = options;
  return {
    capture: overview.name,
    target: options.target?.url ?? null,
    window: { from: formatInstantUs(window.fromUs), to: formatInstantUs(window.toUs - 1) },
    load: {
      multiplier,
      ratePerSecond: rate?.perSecond ?? null,
      concurrency,
      stageMultipliers: stageMultipliersOf(curve),
      meanMultiplier: options.stages === null ? undefined : curve.playedNs / curve.durationNs,
    },
  };
}

/** The facts of a plan for programs and for its view. */
export function planFacts(plan: ReplayPlan): PlanFacts {
  const { options, overview, window, forecast, scaling } = plan;
  const scalingPlan = scalingDocument(scaling, window, forecast);
  const end = planEndOf(scaling, window);
  const onceUs = window.parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
  return {
    ...choiceFacts(plan),
    ...windowsDocument(window, options.filters, null),
    repeats: end.playedUs > onceUs,
    multiplier: askedMultiplier(plan),
    scaling: options.scaling,
    scalingKeeps: scalingPlan.keeps,
    scalingBends: scalingPlan.bends,
    scalingPlan,
    sessionOrder: options.sessionOrder,
    sessionsKnown: overview.sessionKeys.length > 0,
    ...picked(options, 'maxRequests', 'maxRatePerSecond', 'shard'),
    startAt: options.startAtUs === null ? null : formatInstantUs(options.startAtUs),
    durationS: window.plannedSpanNs / 1e9,
    endsWith: end.with,
    recordedS: end.playedUs / 1e6,
    expected: { exchanges: forecast.exchanges, requests: forecast.plannedExchanges },
    peak: {
      second: forecast.peakSecond === null ? null : formatInstantUs(forecast.peakSecond * 1e6),
      recordedPerSecond: forecast.recordedPeakPerSecond,
      plannedPerSecondAtMost: forecast.plannedPeakPerSecond,
    },
    coverage: overview.coverage,
    coverageIsAtLeast: overview.coverageIsAtLeast ?? false,
    shiftTime: options.shiftTime.map(({ pointer }) => pointer),
  };
}

/** The windows of a plan, or of a run, for programs. @param playback null if no exchange was read */
export function windowsDocument(
  window: ReplayWindow,
  filters: Filters,
  playback: Playback | null,
): Required<WindowsDocument> {
  return {
    windows: window.parts.map(({ fromUs, toUs }, at) => ({
      from: formatInstantUs(fromUs),
      to: formatInstantUs(toUs - 1),
      exchanges: playback?.counts[at]?.exchanges ?? null,
      selected: playback?.counts[at]?.selected ?? null,
    })),
    windowSearch: window.found,
    loops: window.loops,
    passes: playback?.passes ?? null,
    seam: isSequence(window) ? 'edge_to_edge_at_least_mean_gap' : null,
    maxDurationS: window.durationNs === null ? null : window.durationNs / 1e9,
    filters: describeFilters(filters).length === 0 ? null : filters,
  };
}

/** The settings of a scaling and their results, for a plan and for the document of a run. */
export function scalingDocument(scaling: Scaling, window: TimeRange, forecast: Forecast): ScalingPlan {
  const { options, curve, coverage, layers } = scaling;
  const { keeps, bends, reuse } = SCALING_KINDS[options.scaling];
  const isFollowedLate = options.scaling !== 'compress' && !curve.constant;
  const [least, most] = [scaling.loadAt(curve.min), scaling.loadAt(curve.max)];
  return {
    keeps,
    bends: isFollowedLate ? `${bends}; ${STAGES_BEND}` : bends,
    reuse,
    seed: options.seed,
    stages: options.stages?.map(stageText) ?? null,
    stageMultipliers: stageMultipliersOf(curve),
    targetShare: options.targetShare,
    coverageFactor: coverage === null ? null : scaling.coverageFactor,
    keptSessions: [least.kept, most.kept],
    timesEach: [least.copies, most.copies],
    jitterMs: options.jitterMs,
    perturb: options.perturb.map(placeText),
    copyPrompts: options.copyPrompts ?? 'same',
    layers: layers.slice(1).map(({ shiftUs, exchanges }, at) => {
      const { fromUs, toUs } = shifted(window, shiftUs);
      const share = scaling.layerShare(at + 1, curve.max);
      return { from: formatInstantUs(fromUs), to: formatInstantUs(toUs), exchanges, share };
    }),
    expectedRequests: forecast.plannedExchanges,
    drawn: scaling.drawn.weighed,
  };
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
  return thinned(scaling, {
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
