import type { Clock } from '../../src/core/clock.ts';
import type { Logger } from '../../src/core/ports.ts';
import type { Send } from '../../src/core/run.ts';
import type { PreparedRequest, SendResult } from '../../src/replay/engine/engine.ts';
import type { ResolveHost } from '../../src/replay/guard.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../src/replay/options/replay-options.ts';
import { forecastOf } from '../../src/replay/plan/forecast.ts';
import { Scaling } from '../../src/replay/plan/scaling.ts';
import { warmupBefore } from '../../src/replay/plan/warmup.ts';
import { Replay, type ReplayListener } from '../../src/replay/run.ts';
import { parseTarget } from '../../src/replay/target.ts';
import { chooseWindow } from '../../src/replay/window/window.ts';
import { exchangeRow } from './exchange-row.ts';
import { MemoryCapture, requestPayload } from './memory-capture.ts';
import { COMMAND_LINE_ALONE } from './option-sources.ts';
import { ScriptedEngine } from './scripted-engine.ts';

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
