import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../src/core/clock.ts';
import type { Logger } from '../../src/core/ports.ts';
import type { Send } from '../../src/core/run.ts';
import type {
  Engine,
  EngineHealth,
  EngineOptions,
  PreparedRequest,
  SendResult,
} from '../../src/replay/engine/engine.ts';
import type { ResolveHost } from '../../src/replay/guard.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../src/replay/options/replay-options.ts';
import { forecastOf } from '../../src/replay/plan/forecast.ts';
import { Scaling } from '../../src/replay/plan/scaling.ts';
import { warmupBefore } from '../../src/replay/plan/warmup.ts';
import { Replay, type ReplayListener } from '../../src/replay/run.ts';
import { parseTarget } from '../../src/replay/target.ts';
import { chooseWindow } from '../../src/replay/window/window.ts';
import { exchangeRow } from '../support/exchange-row.ts';
import { MemoryCapture, requestPayload } from '../support/memory-capture.ts';
import { COMMAND_LINE_ALONE } from '../support/option-sources.ts';

const NO_DURATIONS = { count: 0, p50Ns: 0, p90Ns: 0, p99Ns: 0, maxNs: 0 };

/**
 * An engine without threads, sockets or time. `answer` decides how each request ends (null: never). `afterEach` may
 * move a clock or stop the run.
 */
class ScriptedEngine implements Engine {
  readonly startNs = 0;
  readonly inFlightCounts = { inFlight: 0, waiting: 0 };
  /** A test may set it to simulate that an answer has begun. */
  hasServed = false;
  readonly options: EngineOptions;
  readonly requests: PreparedRequest[] = [];
  readonly #answer: (request: PreparedRequest) => Partial<SendResult> | null;
  readonly #afterEach: (request: PreparedRequest) => void;
  readonly #untilStopped: boolean;
  readonly #readsAll: boolean;

  /** @param untilStopped whether it ends only if stopped @param readsAll whether it reads the whole plan first */
  constructor(
    options: EngineOptions,
    answer: (request: PreparedRequest) => Partial<SendResult> | null,
    afterEach: (request: PreparedRequest) => void,
    untilStopped = false,
    readsAll = false,
  ) {
    this.#readsAll = readsAll;
    this.#untilStopped = untilStopped;
    this.options = options;
    this.#answer = answer;
    this.#afterEach = afterEach;
  }

  async run(
    requests: Iterator<PreparedRequest>,
    onResults: (batch: SendResult[]) => void,
    signal: AbortSignal,
  ): Promise<EngineHealth> {
    const due = this.#readsAll ? [...{ [Symbol.iterator]: () => requests }].values() : requests;
    while (!signal.aborted) {
      const { done, value } = due.next();
      if (done === true) break;
      this.requests.push(value);
      this.#afterEach(value);
      const answer = this.#answer(value);
      if (answer === null) continue;
      if ((answer.status ?? 200) < 400) this.hasServed = true;
      onResults([{ ...completed(value), ...answer }]);
    }
    while (this.#untilStopped && !signal.aborted) await setImmediate();
    return healthOf(this.requests.length, signal.aborted);
  }
}

function completed({ index, intendedOffsetNs }: PreparedRequest): SendResult {
  return {
    index,
    intendedOffsetNs,
    actualOffsetNs: intendedOffsetNs,
    connectionWaitNs: null,
    startOffsetNs: intendedOffsetNs,
    writeNs: null,
    pausedNs: 0,
    firstByteOffsetNs: intendedOffsetNs + 1,
    lastByteOffsetNs: intendedOffsetNs + 2,
    status: 200,
    responseBytes: 0,
    error: null,
    refused: false,
    cancelled: false,
    streamed: null,
    answer: null,
  };
}

function healthOf(sent: number, aborted: boolean): EngineHealth {
  return {
    startNs: 0,
    startedAtUs: 0,
    endOffsetNs: 0,
    prepared: sent,
    sent,
    refused: 0,
    refusedForBytes: 0,
    stopped: 0,
    aborted,
    lag: NO_DURATIONS,
    pacerLateness: NO_DURATIONS,
    niceness: 0,
    senderBusyShare: 0,
    senderBusyShareMax10s: 0,
    starved: 0,
    stalls: [],
    inFlightMax: 1,
    followUps: { heldBack: 0, notHeld: 0 },
    live: null,
    connections: {
      opened: 0,
      openedAhead: 0,
      failed: 0,
      openMax: 0,
      used: 0,
      connect: NO_DURATIONS,
      requestsPerConnection: { mean: 0, max: 0 },
      byAddress: [],
    },
    software: [],
  };
}

export const SECOND_US = 1_000_000;
const silent: Logger = { info: () => {}, warn: () => {}, error: () => {} };

/** One arrival per second, recorded with the host `host-<id>`. */
function captureOf(count: number): MemoryCapture {
  const rows = Array.from({ length: count }, (_, id) => exchangeRow({ id, arrivalUs: (id + 1) * SECOND_US }));
  return new MemoryCapture(rows, (row) => requestPayload(`/${row.id}`, [['Host', `host-${row.id}`]]));
}

export interface ReplaySetup {
  readonly capture?: MemoryCapture;
  readonly count?: number;
  readonly target?: string;
  readonly raw?: RawReplayOptions;
  readonly arrivalsOnly?: boolean;
  readonly answer?: (request: PreparedRequest) => Partial<SendResult> | null;
  readonly afterEach?: (request: PreparedRequest) => void;
  readonly resolveHost?: ResolveHost;
  /** Whether the engine continues until it is stopped. */
  readonly untilStopped?: boolean;
  /** Whether the engine reads the whole plan before it sends. */
  readonly readsAll?: boolean;
}

export function replayOf(setup: ReplaySetup) {
  const count = setup.count ?? 5;
  const source = setup.capture ?? captureOf(count);
  const target = parseTarget(setup.target ?? 'http://127.0.0.1:9/base');
  const options = resolveReplayOptions({ target: target.url, ...setup.raw }, COMMAND_LINE_ALONE);
  const overview = {
    name: 'capture',
    exchanges: count,
    firstArrivalUs: SECOND_US,
    lastArrivalUs: count * SECOND_US,
    coverage: 1,
    arrivalsOnly: setup.arrivalsOnly ?? false,
    targets: [],
    sessionKeys: [],
    hardest: () => {
      throw new Error('nothing is ranked here');
    },
    seconds: () =>
      Array.from({ length: count }, (_, at) => ({
        second: at + 1,
        exchanges: 1,
        latencyCount: 0,
        latencySumUs: 0,
      })),
  };
  const window = chooseWindow(overview, options.window, options.multiplier);
  let nowNs = 0;
  const clock: Clock = {
    nowNs: () => nowNs,
    epochUs: () => 0,
    anchor: () => ({ monotonicNs: nowNs, epochUs: 0 }),
  };
  const engines: ScriptedEngine[] = [];
  const scaling = new Scaling(options, 1);
  const { warmupMs: askedMs, maxRequests } = options;
  const warmup =
    askedMs === null ? null : warmupBefore({ askedMs, overview, source, window, scaling, maxRequests });
  const replay = new Replay({
    runId: 'run-1',
    options,
    target,
    overview,
    window,
    forecast: forecastOf(overview, window, scaling),
    scaling,
    warmup,
    source,
    createEngine: (engineOptions) => {
      const engine = new ScriptedEngine(
        engineOptions,
        setup.answer ?? (() => ({})),
        (request) => {
          nowNs = request.intendedOffsetNs;
          setup.afterEach?.(request);
        },
        setup.untilStopped,
        setup.readsAll,
      );
      engines.push(engine);
      return engine;
    },
    resolveHost: setup.resolveHost ?? (async () => []),
    watchTargetMs: 1,
    clock,
    logger: silent,
  });
  const sends: Send[] = [];
  const planned: number[] = [];
  let recorded = 0;
  const listener: ReplayListener = {
    recorded: () => {
      recorded += 1;
    },
    planned: (row) => planned.push(row.id),
    ended: (batch) => sends.push(...batch),
  };
  return { replay, engines, sends, planned, listener, recorded: () => recorded };
}
