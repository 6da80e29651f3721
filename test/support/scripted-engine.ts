import { setImmediate } from 'node:timers/promises';
import type {
  Engine,
  EngineHealth,
  EngineOptions,
  PreparedRequest,
  SendResult,
} from '../../src/replay/engine/engine.ts';

const NO_DURATIONS = { count: 0, p50Ns: 0, p90Ns: 0, p99Ns: 0, maxNs: 0 };

/**
 * An engine without threads, sockets or time. `answer` decides how each request ends (null: never). `afterEach` may
 * move a clock or stop the run.
 */
export class ScriptedEngine implements Engine {
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
    senderBusyShare: 0,
    senderBusyShareMax10s: 0,
    starved: 0,
    stalls: [],
    inFlightMax: 1,
    followUps: { heldBack: 0, notHeld: 0 },
    connections: {
      opened: 0,
      failed: 0,
      openMax: 0,
      used: 0,
      connect: NO_DURATIONS,
      requestsPerConnection: { mean: 0, max: 0 },
      byAddress: [],
    },
  };
}
