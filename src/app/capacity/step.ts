import { join } from 'node:path';
import { BacklogWatch, LittlesLaw, StepRates } from '../../analysis/capacity/early-stop.ts';
import { StepWindows } from '../../analysis/capacity/step-windows.ts';
import type { Tier } from '../../analysis/capacity/tiers.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { hasWholeAnswer } from '../../core/exchange.ts';
import type { CaptureSource, Logger, TimeRange } from '../../core/ports.ts';
import { hasFailed, isOfWrongServer, type Send } from '../../core/run.ts';
import { US_PER_S } from '../../core/units.ts';
import type { StepWindow } from '../../documents/capacity.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type { ReplayDocument, WaitsFor } from '../../documents/replay.ts';
import { rowFilterOf } from '../../replay/filter.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import { defaultScaling, type ScalingName, unreachable } from '../../replay/plan/scaling.ts';
import type { ReplayEnd } from '../../replay/run.ts';
import type { OpenedCapture } from '../open-capture.ts';
import { waitsForOf } from '../replay/document.ts';
import type { RunOptions } from '../replay/options.ts';
import { statedBounds } from '../replay/plan.ts';
import type { ReplayReporter } from '../replay/progress.ts';
import { carryOut, planOpened, sendSome } from '../replay/replay.ts';
import type { RunRows, StopSource } from '../replay/run.ts';
import { secondsIn } from './load.ts';

/** Number of requests in a probe, and the length of its part of the recording. */
const PROBE_REQUESTS = 3;
const PROBE_MS = 2_000;
/**
 * Places in the recording to try before a target is called wrong, and the fewest requests that it must refuse there.
 */
const PLACES = 8;
const LEAST_REFUSED = 20;

/** The common parts of all steps of a search. */
export interface StepScene {
  readonly opened: OpenedCapture;
  readonly run: RunOptions;
  readonly isScalingStated: boolean;
  readonly awaitsValues: boolean;
  readonly objectives: readonly Objective[];
  readonly tiers: readonly Tier[];
  /** The replayed parts of the capture at 1x, in order: the load of the search. */
  readonly parts: readonly TimeRange[];
  /** All parts of the recording that were chosen. Probes come from them: a cache then knows little of the load. */
  readonly chosen: readonly TimeRange[];
  /** Duration of each step before its first window. */
  readonly settlingS: number;
  readonly windowSAt: (multiplier: number) => number;
  /** The largest limit of an answer's time; null without such an objective. */
  readonly limitS: number | null;
  /** Share of the recording that passes the filters. Forecasts do not consider filters. */
  readonly selectedShare: number;
  /** The longest wait for the last answers of a step. */
  readonly drainMs: number;
  readonly logger: Logger;
}

export interface StepOrder {
  readonly multiplier: number;
  readonly windows: number;
  readonly directory: string;
  /**
   * Longest time that most answers may take, seconds. If it is null or 0, it is unknown, and the step runs to its end.
   */
  readonly longestAnswerS: number | null;
}

/** The external stop of a step. */
export interface StepStop {
  readonly signal: AbortSignal;
  /** The reason of the stop; null before it. */
  readonly received: () => string | null;
}

/** A completed step. */
export interface StepPlayed {
  readonly windows: readonly StepWindow[];
  /** Length of each, seconds. */
  readonly windowS: number;
  /** Residual of `LittlesLaw`; null if nothing was in flight, or if the normal time of answers is unknown. */
  readonly littlesLaw: number | null;
  /** Requests sent and answers received per second in its windows. */
  readonly sentPerS: number;
  readonly answeredPerS: number;
  readonly document: ReplayDocument;
  /** Objectives on monitored series, which are judged for the complete step. */
  readonly monitored: readonly string[];
  readonly end: ReplayEnd;
  readonly isHopeless: boolean;
}

/**
 * Replays the recording at one multiplier, as a run of its own, and judges it window by window.
 * @throws AppError as `planOpened` and `carryOut` do
 */
export async function playStep(
  scene: StepScene,
  order: StepOrder,
  stop: StepStop,
  reporter: ReplayReporter,
  also?: Partial<RunRows>,
): Promise<StepPlayed> {
  const { opened, run, logger, objectives, settlingS } = scene;
  const windowS = scene.windowSAt(order.multiplier);
  const stepS = settlingS + order.windows * windowS;
  const options = stepOptions(scene, { ...order, beforeS: settlingS }, stepS * 1e3);
  const planned = await planOpened(opened, { ...run, options, out: order.directory });
  const { forecast, window } = planned.plan;
  const offeredPerS =
    (scene.selectedShare * forecast.plannedExchanges) / Math.max(1e-9, window.plannedSpanNs / 1e9);
  const waitsFor = waitsForOf(options, scene.awaitsValues);
  const facts = { offeredPerS, windowS, waitsFor };
  const { windows, backlog, rates, law } = measuresOf(scene, order, options, facts);
  const hopeless = new AbortController();
  const untilNs = () => (hopeless.signal.aborted ? seenNs : stepS * 1e9);
  let seenNs = 0;
  const result = await carryOut(planned, {
    logger,
    settlingNs: settlingS * 1e9,
    listen: () => stopSourceOf(stop, hopeless.signal),
    reporter: {
      ...reporter,
      event: (event) => {
        reporter.event?.(event);
        if (event.event !== 'second' || event.phase !== 'run' || hopeless.signal.aborted) return;
        seenNs = event.elapsedS * 1e9;
        if (backlog === null) return;
        backlog.add({ due: windows.dueAt(seenNs), inFlight: event.inFlight });
        if (backlog.isHopeless) hopeless.abort();
      },
    },
    rows: {
      planned: (row, offsetNs) => {
        windows.addPlanned(row, offsetNs);
        also?.planned?.(row, offsetNs);
      },
      ended: (sends) => {
        windows.addSends(sends);
        law?.add(sends);
        rates.add(sends, untilNs());
        also?.ended?.(sends);
      },
    },
  });
  if (result.kind === 'planned') throw new Error('a dry run has no steps');
  const { end, document } = result;
  const isHopeless = end.kind === 'aborted' || (end.kind === 'interrupted' && hopeless.signal.aborted);
  windows.finish(isHopeless ? 'hopeless' : end.kind === 'complete' ? 'complete' : 'cut', seenNs);
  const monitored = objectives
    .filter(({ series }) => series !== undefined)
    .map(({ expression }) => expression);
  return {
    windows: windows.over,
    windowS,
    littlesLaw: law?.residual ?? null,
    ...rates.until(end.kind === 'complete' ? untilNs() : seenNs),
    document,
    monitored,
    end,
    isHopeless,
  };
}

/** The statistics of a step. Without a known time of most answers, there is no backlog watch and no Little's law. */
function measuresOf(
  scene: StepScene,
  { multiplier, windows: count, longestAnswerS }: StepOrder,
  options: ReplayOptions,
  {
    offeredPerS,
    windowS,
    waitsFor,
  }: { readonly offeredPerS: number; readonly windowS: number; readonly waitsFor: WaitsFor | null },
) {
  const { objectives, tiers, settlingS } = scene;
  const dispersion = dispersionOf(scene, multiplier, options.scaling);
  const knownS = longestAnswerS || scene.limitS;
  const lengths = { settlingNs: settlingS * 1e9, windowNs: windowS * 1e9 };
  return {
    windows: new StepWindows({
      ...lengths,
      multiplier,
      tiers,
      bounds: statedBounds(options),
      waitsFor,
      // Monitored series are known only after the step.
      objectives: objectives.filter(({ series }) => series === undefined),
    }),
    backlog: longestAnswerS ? new BacklogWatch({ offeredPerS, dispersion, longestAnswerS }) : null,
    rates: new StepRates(lengths.settlingNs),
    law: knownS === null ? null : new LittlesLaw((settlingS + count * windowS) * 1e9, knownS * 1e9),
  };
}

/**
 * Sends the first few requests at 1x that have a recorded answer, and keeps nothing of them. It waits for answers as
 * long as a replay does.
 * @returns the mean service time, milliseconds; null if one failed, or if the target refuses the complete recording
 * @throws AppError TARGET_UNREACHABLE, TARGET_FORBIDDEN, CAPTURE_EMPTY if there is no recorded answer
 */
export async function probe(scene: StepScene, signal: AbortSignal): Promise<number | null> {
  const answered = { ...scene, opened: { ...scene.opened, source: answeredOf(scene.opened.source) } };
  const over = await sentFrom(answered, firstPlace(answered.opened.source, scene), signal);
  const tookNs = over.flatMap(({ actualOffsetNs, lastByteOffsetNs }) =>
    actualOffsetNs === null || lastByteOffsetNs === null ? [] : lastByteOffsetNs - actualOffsetNs,
  );
  if (over.length === 0 || tookNs.length < over.length) return null;
  const isWrong = over.every(isOfWrongServer) && (await refusesAll(answered, signal));
  if (isWrong || over.some((send) => hasFailed(send) && !isOfWrongServer(send))) return null;
  return tookNs.reduce((sum, each) => sum + each, 0) / tookNs.length / 1e6;
}

/** Whether the target refuses requests from all parts of the recording. Ends at the first accepted request. */
async function refusesAll(scene: StepScene, signal: AbortSignal): Promise<boolean> {
  let refused = 0;
  for (let place = 0; place < PLACES && !signal.aborted; place += 1) {
    const sends = await sentFrom(scene, place / PLACES, signal).catch((thrown: unknown) => {
      // The recording has no request there.
      if (thrown instanceof AppError && thrown.code === 'CAPTURE_EMPTY') return [];
      throw thrown;
    });
    if (!sends.every(isOfWrongServer)) return false;
    refused += sends.length;
  }
  return refused >= LEAST_REFUSED;
}

/**
 * Sends a few requests from a place in the recording. @returns ended requests; those that were open at the stop show
 * nothing
 */
async function sentFrom(scene: StepScene, position: number, signal: AbortSignal): Promise<Send[]> {
  const { opened, run, logger, chosen } = scene;
  const { drainDeadlineMs } = run.options;
  const place = { multiplier: 1, beforeS: -position * secondsIn(chosen) };
  const options = {
    ...stepOptions({ ...scene, parts: chosen }, place, PROBE_MS),
    drainDeadlineMs,
    maxRequests: PROBE_REQUESTS,
  };
  return sendSome(await planOpened(opened, { ...run, options }), logger, signal);
}

/** The capture without requests that failed or whose client left. */
function answeredOf(source: CaptureSource): CaptureSource {
  return {
    *rows(range) {
      for (const row of source.rows(range)) {
        if (hasWholeAnswer(row)) yield row;
      }
    },
    payload: (row) => source.payload(row),
    close: () => source.close(),
  };
}

/** Position of the first selected request, as a share of the length of all parts; 0 without one. */
function firstPlace(source: CaptureSource, { run, chosen: parts }: StepScene): number {
  const isPlayed = rowFilterOf(run.options.filters, (row) => source.payload(row)) ?? (() => true);
  const lengthUs = parts.reduce((sum, { fromUs, toUs }) => sum + toUs - fromUs, 0);
  let beforeUs = 0;
  for (const range of parts) {
    for (const row of source.rows(range)) {
      if (isPlayed(row)) return (beforeUs + row.arrivalUs - range.fromUs) / lengthUs;
    }
    beforeUs += range.toUs - range.fromUs;
  }
  return 0;
}

/** What decides the scaling of its steps. */
export type ScaledSearch = Pick<StepScene, 'run' | 'isScalingStated' | 'awaitsValues'>;

/** The scaling of a step with this multiplier. */
export function stepScaling(
  { run: { options }, isScalingStated, awaitsValues }: ScaledSearch,
  multiplier: number,
): ScalingName {
  const isAsked = isScalingStated && unreachable(options.scaling, multiplier, multiplier) === null;
  return isAsked ? options.scaling : defaultScaling(multiplier, multiplier, awaitsValues);
}

/** How many seconds of the recording a step with this multiplier replays in a second. */
export function paceOf(scene: ScaledSearch, multiplier: number): number {
  return stepScaling(scene, multiplier) === 'compress' ? multiplier : 1;
}

/**
 * The options of a step. A search changes only the multiplier, the start, the length and the drain of a replay.
 * @param beforeS how long before the begin of the load the step begins, seconds
 */
export function stepOptions(
  scene: ScaledSearch & Pick<StepScene, 'parts' | 'drainMs'>,
  { multiplier, beforeS }: { readonly multiplier: number; readonly beforeS: number },
  durationMs: number,
): ReplayOptions {
  const { options } = scene.run;
  const ranges = begunBefore(scene.parts, beforeS * paceOf(scene, multiplier));
  return {
    ...options,
    multiplier,
    scaling: stepScaling(scene, multiplier),
    isScalingDefault: false,
    drainDeadlineMs: scene.drainMs,
    window: { ...options.window, ranges, search: null, loops: null, durationMs },
  };
}

/**
 * The parts in a circle, from so many recorded seconds before their begin on. So a step that settles for this time
 * begins its first window with the first part.
 */
export function begunBefore(parts: readonly TimeRange[], beforeS: number): readonly TimeRange[] {
  const lengthUs = secondsIn(parts) * US_PER_S;
  const pastUs = Math.round(-beforeS * US_PER_S) % lengthUs;
  let leftUs = pastUs < 0 ? pastUs + lengthUs : pastUs;
  for (const [at, { fromUs, toUs }] of parts.entries()) {
    if (leftUs < toUs - fromUs) {
      const cutUs = fromUs + leftUs;
      const before = leftUs === 0 ? [] : [{ fromUs, toUs: cutUs }];
      return [{ fromUs: cutUs, toUs }, ...parts.slice(at + 1), ...parts.slice(0, at), ...before];
    }
    leftUs -= toUs - fromUs;
  }
  return parts;
}

/**
 * Variance divided by mean of arrival counts, in windows that become one second of the step. A copy is in the same
 * second as its original, so the multiplier increases bursts.
 */
export function dispersionOf(
  { opened, parts }: Pick<StepScene, 'opened' | 'parts'>,
  multiplier: number,
  scaling: ScalingName,
): number {
  const copies = scaling === 'amplify' ? multiplier : 1;
  const seconds = Math.max(1, Math.round(multiplier / copies));
  const counts = parts.flatMap((range) => {
    const from = Math.floor(range.fromUs / US_PER_S);
    const inWindows = new Array<number>(Math.floor((range.toUs / US_PER_S - from) / seconds)).fill(0);
    for (const { second, exchanges } of opened.overview.seconds(range)) {
      const at = Math.floor((second - from) / seconds);
      if (at >= 0 && at < inWindows.length) inWindows[at] = (inWindows[at] ?? 0) + exchanges;
    }
    return inWindows;
  });
  if (counts.length < 2) return 1;
  const mean = counts.reduce((sum, each) => sum + each, 0) / counts.length;
  const variance = counts.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (counts.length - 1);
  return mean === 0 ? 1 : Math.max(1, (copies * variance) / mean);
}

function stopSourceOf({ signal, received }: StepStop, hopeless: AbortSignal): StopSource {
  return {
    signal: AbortSignal.any([signal, hopeless]),
    get received() {
      return received() ?? (hopeless.aborted ? 'hopeless' : null);
    },
    end: () => undefined,
  };
}

/** The directory of a step's run; steps count from 1. */
export function stepDirectory(out: string, step: number): string {
  return join(out, 'steps', String(step).padStart(2, '0'));
}

/** Seconds since an instant of the monotonic clock. */
export function secondsSince(ns: number): number {
  return (systemClock.nowNs() - ns) / 1e9;
}
