import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { FidelityStatistics, wholePlanOf } from '../../analysis/run/fidelity.ts';
import type { RunStatistics } from '../../analysis/run/run-statistics.ts';
import { type ClockAnchor, systemClock } from '../../core/clock.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { ShardDocument } from '../../documents/replay.ts';
import type { Shard } from '../../replay/options/parsers.ts';
import { describePlanOptions } from '../../replay/options/replay-options.ts';
import { VERSION } from '../package.ts';
import { playedPace, type ReplayPlan } from './plan.ts';

/** Threads and connections are prepared this long before the start. Idle connections are closed after 1.5 s. */
const PREPARE_MS = 2_000;
/** Interval of reading the wall clock, which may be changed meanwhile. */
const LOOK_MS = 1_000;

/**
 * Identifies a plan: equal for shards of the same plan. It covers every option that affects the schedule or the
 * requests, the found windows, superposed parts, and the contents of the capture.
 */
export function planDigest(plan: Omit<ReplayPlan, 'forecast'>, captureIdentity: string): string {
  const { options, window, scaling, overview } = plan;
  const { parts, loops, durationNs } = window;
  const decides = {
    version: VERSION,
    capture: captureIdentity,
    coverage: overview.coverage,
    count: options.shard?.count ?? 1,
    options: describePlanOptions(options, window),
    windows: { parts, loops, durationNs },
    layers: scaling.layers,
  };
  return createHash('sha256').update(JSON.stringify(decides)).digest('hex');
}

/** Follows the plan of all shards, while only a part of it is replayed here. Null if it is replayed completely. */
export class ShardWatch {
  readonly fidelity = new FidelityStatistics();
  readonly #begun: ClockAnchor = systemClock.anchor();

  /** Call it when the run is over. */
  document(
    shard: Shard,
    plan: ReplayPlan,
    captureIdentity: string,
    statusMix: RunStatistics['statusMix'],
  ): ShardDocument {
    const { startAtUs } = plan.options;
    const ended = systemClock.anchor();
    const wallUs = ended.epochUs - this.#begun.epochUs;
    return {
      ...shard,
      planDigest: planDigest(plan, captureIdentity),
      host: hostname(),
      startAt: startAtUs === null ? null : formatInstantUs(startAtUs),
      clock: {
        driftUs: Math.round(wallUs - (ended.monotonicNs - this.#begun.monotonicNs) / 1e3),
        kernel: kernelOf(),
      },
      pace: playedPace(plan.scaling, plan.window),
      recordedStatuses: statusMix.recordedStatuses(),
      recordedFailures: statusMix.recordedFailures(),
      whole: wholePlanOf(this.fidelity.figures()),
    };
  }
}

/** The boot id of Linux, which is the same for all containers of a machine; null on other systems. */
function kernelOf(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** Waits until it is time to prepare, or until `signal` aborts. */
export async function waitToPrepare(startAtUs: number | null, signal: AbortSignal): Promise<void> {
  if (startAtUs === null) return;
  while (!signal.aborted) {
    const leftMs = (startAtUs - systemClock.epochUs()) / 1e3 - PREPARE_MS;
    if (leftMs <= 0) return;
    await setTimeout(Math.min(leftMs, LOOK_MS), null, { signal }).catch((thrown: unknown) => {
      if (!signal.aborted) throw thrown;
    });
  }
}
