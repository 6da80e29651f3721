import { capacityDocument, playedSteps } from '../../analysis/capacity/build-document.ts';
import { LittlesLaw, StepRates } from '../../analysis/capacity/early-stop.ts';
import {
  checkQueue,
  fitQueue,
  type QueueFit,
  type ServedRequest,
  servedRequestOf,
} from '../../analysis/capacity/fit-queue.ts';
import { type DueRequest, hopelessAtS, playQueue, uniformBy } from '../../analysis/capacity/queue-model.ts';
import { CapacitySearch, type NextStep } from '../../analysis/capacity/search.ts';
import { HEALTH_UNKNOWN, StepWindows } from '../../analysis/capacity/step-windows.ts';
import { latencyMs } from '../../analysis/metrics/answer-times.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import { picked } from '../../core/picked.ts';
import type { Send } from '../../core/run.ts';
import { formatInstantUs, NS_PER_S } from '../../core/units.ts';
import {
  CAPACITY_SCHEMA_VERSION,
  type CapacityDocument,
  type CapacityState,
  type CapacityStep,
  type EndedBy,
} from '../../documents/capacity.ts';
import type { QueueForecast } from '../../documents/parts.ts';
import { isOfWindow, scheduleOf } from '../../replay/plan/schedule.ts';
import { layeredArrivals } from '../../replay/plan/superpose.ts';
import { skipReasonOf } from '../../replay/window/capture.ts';
import { waitsForOf } from '../replay/document.ts';
import { chooseReplay, statedBounds } from '../replay/plan.ts';
import { type CapacityPlan, endOf, factsOf, largestLimitMs } from './plan.ts';
import { dispersionOf, type StepScene, stepOptions } from './step.ts';
import { stepOf } from './step-document.ts';

/** Most requests to fit the queue, and to check it. */
const MOST_REQUESTS = 200_000;
/** A fixed seed for service times, so that a forecast is reproducible. */
const SEED = 1;

const ASSUMPTIONS = [
  'first come, first served: each request by one executor, to its end',
  'a service takes as long as recorded ones of its size, whatever else is served',
  'the server has as many executors as while recording, and never fails',
  'nothing else limits the load: no generator, network or autoscaler',
];

type SimulationScene = Pick<
  StepScene,
  'run' | 'isScalingStated' | 'awaitsValues' | 'parts' | 'drainMs' | 'settlingS' | 'windowSAt' | 'opened'
>;

/**
 * Searches the breaking point of a queue that behaves like the recorded server, on a virtual clock. It is a forecast
 * without any server. The queue is fitted to one half of the recording and checked with the other. If hardly a request
 * waited, any greater number of executors fits as well. Then no load is known to fail, and nothing is searched.
 * @throws AppError CAPTURE_EMPTY for too few answers
 */
export function simulateCapacity(plan: CapacityPlan): CapacityDocument {
  const { options, search: searched } = plan;
  const { fit, forecast } = fittedQueue(plan);
  const startedAt = formatInstantUs(systemClock.epochUs());
  const scene: SimulationScene = {
    ...picked(options, 'run', 'isScalingStated', 'awaitsValues'),
    ...picked(plan, 'opened', 'drainMs', 'settlingS'),
    parts: plan.load.parts,
    windowSAt: searched.windowSAt,
  };
  const steps: CapacityStep[] = [];
  const endedBy = forecast.isOpen ? 'recording' : simulatedSearch(plan, scene, fit, steps);
  const state: CapacityState = {
    schemaVersion: CAPACITY_SCHEMA_VERSION,
    kind: 'capacity-state',
    settings: plan.settings,
    generator: plan.generator,
    endedAt: null,
    ...picked(plan, 'windowS', 'load'),
    startedAt,
    calibration: null,
    noise: null,
    baselineMs: null,
    steps,
  };
  const endedAt = formatInstantUs(systemClock.epochUs());
  return { ...capacityDocument(factsOf(plan, searched, ''), state, endedBy, endedAt), forecast };
}

/** Adds steps until the search is over. @returns why it is */
function simulatedSearch(
  plan: CapacityPlan,
  scene: SimulationScene,
  fit: QueueFit,
  steps: CapacityStep[],
): EndedBy {
  for (;;) {
    const next = new CapacitySearch(plan.search, playedSteps(steps)).next();
    if (next.kind !== 'play') return endOf(next.reason, plan.ceilingBy);
    steps.push(simulatedStep(plan, scene, fit, next, steps.length));
  }
}

/** Fits the queue to the half with more requests, which shows more about waiting. Checks it with the other half. */
function fittedQueue({ opened, options, base }: CapacityPlan): {
  readonly fit: QueueFit;
  readonly forecast: QueueForecast;
} {
  const { source, window } = chooseReplay(opened, options.run.options);
  const requests: { readonly arrivalUs: number; readonly request: ServedRequest }[] = [];
  for (const row of source.rows(window)) {
    const request = servedRequestOf(row, window.fromUs);
    if (request !== null) requests.push({ arrivalUs: row.arrivalUs, request });
    if (requests.length === 2 * MOST_REQUESTS) break;
  }
  const middleUs = ((requests[0]?.arrivalUs ?? 0) + (requests.at(-1)?.arrivalUs ?? 0)) / 2;
  const halves = [
    requests.filter(({ arrivalUs }) => arrivalUs < middleUs),
    requests.filter(({ arrivalUs }) => arrivalUs >= middleUs),
  ].sort((a, b) => b.length - a.length);
  const [fitted = [], checked = []] = halves;
  const fit = fitQueue(fitted.map(({ request }) => request));
  const check =
    fit &&
    checkQueue(
      fit.model,
      checked.map(({ request }) => request),
      SEED,
    );
  if (fit === null || check === null) {
    throw new AppError(
      'CAPTURE_EMPTY',
      `${base.overview.name}: ${fitted.length} answered requests are too few to tell a server from`,
      { hint: 'Choose a longer window: --simulate needs some hundred complete answers with their times.' },
    );
  }
  const stretchOf = (part: typeof fitted) => ({
    from: formatInstantUs(part[0]!.arrivalUs),
    to: formatInstantUs(part.at(-1)!.arrivalUs),
    requests: part.length,
  });
  return {
    fit,
    forecast: {
      executors: fit.model.executors,
      executorsLeast: fit.executors.least,
      executorsMost: fit.executors.most,
      isOpen: fit.executors.isOpen,
      services: fit.model.sizes.map(({ upToBytes, servicesS }) => ({
        upToBytes: Number.isFinite(upToBytes) ? upToBytes : null,
        requests: servicesS.length,
        meanMs: (1e3 * servicesS.reduce((sum, each) => sum + each, 0)) / servicesS.length,
      })),
      fitted: stretchOf(fitted),
      checked: { ...stretchOf(checked), percentiles: check.percentiles.map((each) => ({ ...each })) },
      assumptions: [...ASSUMPTIONS],
    },
  };
}

/** Plans a step like a real one, simulates it with the queue, and judges its windows like those of a run. */
function simulatedStep(
  { options }: CapacityPlan,
  scene: SimulationScene,
  { model }: QueueFit,
  next: Extract<NextStep, { readonly kind: 'play' }>,
  index: number,
): CapacityStep {
  const { multiplier, purpose } = next;
  const windowS = scene.windowSAt(multiplier);
  const stepS = scene.settlingS + next.windows * windowS;
  const replayOptions = stepOptions(scene, { multiplier, beforeS: scene.settlingS }, stepS * 1e3);
  const windows = new StepWindows({
    settlingNs: scene.settlingS * NS_PER_S,
    windowNs: windowS * NS_PER_S,
    multiplier,
    ...{
      objectives: options.objectives,
      tiers: options.tiers,
      bounds: statedBounds(replayOptions),
      waitsFor: waitsForOf(replayOptions),
    },
  });
  const rows: ExchangeRow[] = [];
  const schedule: DueRequest[] = [];
  const { source, window, scaling } = chooseReplay(scene.opened, replayOptions);
  for (const send of scheduleOf(layeredArrivals(source, window, scaling.layers), scaling)) {
    if (send.intendedOffsetNs >= stepS * NS_PER_S) break;
    if (!send.kept || (isOfWindow(send) && skipReasonOf(send.row) === 'incomplete_request')) continue;
    windows.addPlanned(send.row, send.intendedOffsetNs);
    rows.push(send.row);
    schedule.push({ offsetS: send.intendedOffsetNs / NS_PER_S, requestBytes: send.row.requestBytes ?? 0 });
  }
  const latenciesS = playQueue(model, schedule, uniformBy(SEED + index));
  const offeredPerS = schedule.length / stepS;
  const largestMs = largestLimitMs(options.objectives);
  const longestAnswerS = (largestMs ?? 0) / 1e3;
  const dispersion = dispersionOf(scene, multiplier, replayOptions.scaling);
  const healthy = { offeredPerS, dispersion, longestAnswerS };
  // Without a limit, the longest acceptable answer is unknown.
  const endS = largestMs === null ? null : hopelessAtS(schedule, latenciesS, healthy);
  const sends = rows.map((row, at) => sendOf(at, row, schedule[at]!.offsetS, latenciesS[at]!, endS));
  windows.addSends(sends);
  windows.finish(endS === null ? 'complete' : 'hopeless', (endS ?? stepS) * NS_PER_S);
  const law = largestMs === null ? null : new LittlesLaw(stepS * NS_PER_S, longestAnswerS * NS_PER_S);
  law?.add(sends);
  const rates = new StepRates(scene.settlingS * NS_PER_S);
  rates.add(sends, (endS ?? stepS) * NS_PER_S);
  const answered = sends.filter(({ error }) => error === null);
  const spentS = (endS ?? stepS) + scene.drainMs / 1e3;
  return stepOf(
    {
      ...{
        windows: windows.over,
        windowS,
        littlesLaw: law?.residual ?? null,
        monitored: [],
        ...rates.until((endS ?? stepS) * NS_PER_S),
      },
      document: {
        repeats: null,
        slo: [],
        refused: 0,
        health: HEALTH_UNKNOWN,
        sent: sends.filter(({ actualOffsetNs }) => actualOffsetNs !== null).length,
        latencyMs: { scheduled: percentilesOf(answered) },
      },
    },
    {
      multiplier,
      purpose,
      run: '',
      settledS: 0,
      spentS,
      endedEarly: endS === null ? null : 'hopeless',
    },
  );
}

/** A send with the answer of the queue. If the step was given up, requests that were open then count as stopped. */
function sendOf(
  index: number,
  row: ExchangeRow,
  offsetS: number,
  latencyS: number,
  endS: number | null,
): Send {
  const intendedOffsetNs = Math.round(offsetS * NS_PER_S);
  const isStopped = endS !== null && offsetS + latencyS > endS;
  const isDue = endS === null || offsetS <= endS;
  const endNs = Math.round((isStopped ? Math.max(endS, offsetS) : offsetS + latencyS) * NS_PER_S);
  const lastByteOffsetNs = isDue ? endNs : null;
  return {
    ...{
      index,
      segment: '',
      exchangeId: row.id,
      route: row.route,
      model: row.model,
      client: row.client === null ? null : Buffer.from(row.client).toString('hex'),
    },
    ...{
      requestBytes: row.requestBytes ?? 0,
      intendedOffsetNs,
      actualOffsetNs: isDue ? intendedOffsetNs : null,
    },
    connectionWaitNs: null,
    startOffsetNs: isDue ? intendedOffsetNs : null,
    writeNs: null,
    // Virtual time does not pass while nothing runs.
    pausedNs: 0,
    firstByteOffsetNs: isStopped ? null : lastByteOffsetNs,
    lastByteOffsetNs,
    status: isStopped ? null : 200,
    responseBytes: isStopped ? 0 : (row.responseBytes ?? 0),
    error: isStopped ? 'stopped' : null,
    refused: false,
    warmup: false,
    cancelled: false,
    streamed: false,
    unstreamed: false,
    answer: null,
  };
}

function percentilesOf(answered: readonly Send[]) {
  const latencies = new Histogram();
  for (const { intendedOffsetNs, lastByteOffsetNs } of answered) {
    latencies.record((lastByteOffsetNs ?? intendedOffsetNs) - intendedOffsetNs);
  }
  return latencyMs(latencies);
}
