import type { SelftestStep } from '../analysis/verdict/selftest.ts';
import { entryUrl } from '../app/workers.ts';
import { systemClock } from '../core/clock.ts';
import { LIMITS } from '../core/limits.ts';
import { CpuThrottle } from '../monitors/cpu-throttle.ts';
import { ReplayEngine } from '../replay/engine/engine.ts';
import { type SyntheticLoad, syntheticSchedule } from '../replay/selftest.ts';

const TIMEOUT_MS = 10_000;
const WARM_CONNECTIONS = 8;

/** Plays one load with the engine of every replay, as its options are where nothing is asked for. */
export async function playStep(
  port: number,
  load: SyntheticLoad,
  senders: number,
  signal: AbortSignal,
): Promise<SelftestStep> {
  const engine = new ReplayEngine(
    {
      origin: `http://127.0.0.1:${port}`,
      maxInFlight: LIMITS.inFlight,
      socketPath: null,
      senders,
      maxInFlightBytes: LIMITS.inFlightBytes,
      connectTimeoutMs: TIMEOUT_MS,
      firstByteTimeoutMs: TIMEOUT_MS,
      idleTimeoutMs: TIMEOUT_MS,
      totalTimeoutMs: TIMEOUT_MS,
      drainDeadlineMs: TIMEOUT_MS / 5,
      // As after a stall of a replay of such a load, whose busiest seconds are above the mean.
      peakRatePerSecond: load.ratePerSecond * 2,
      readAheadBytes: LIMITS.readAheadBytes,
      readAheadRequests: LIMITS.readAheadRequests,
      warmConnections: WARM_CONNECTIONS,
      maxConnectionAgeMs: null,
      caPem: null,
      acceptAnyCertificate: false,
    },
    { clock: systemClock, pacerEntry: entryUrl('pacer'), senderEntry: entryUrl('sender') },
  );
  let planned = 0;
  let lastIntendedNs = 0;
  function* counted() {
    for (const request of syntheticSchedule(load)) {
      planned += 1;
      lastIntendedNs = request.intendedOffsetNs;
      yield request;
    }
  }
  let failed = 0;
  let lastActualNs = 0;
  const throttle = new CpuThrottle();
  const health = await engine.run(
    counted(),
    (results) => {
      for (const { actualOffsetNs, error, status } of results) {
        if (error !== null || status !== 200) failed += 1;
        lastActualNs = Math.max(lastActualNs, actualOffsetNs ?? 0);
      }
    },
    signal,
  );
  const { lag, stalls } = health;
  const pace = lastActualNs === 0 ? 0 : Math.min(1, lastIntendedNs / lastActualNs);
  return {
    ratePerSecond: load.ratePerSecond,
    planned,
    sent: health.sent,
    failed,
    achievedShare: planned === 0 ? 0 : (health.sent / planned) * pace,
    lagUs: { p50: lag.p50Ns / 1e3, p90: lag.p90Ns / 1e3, p99: lag.p99Ns / 1e3, max: lag.maxNs / 1e3 },
    senderBusyShare: health.senderBusyShareMax10s,
    throttled: throttle.throttled(),
    longestStallMs: Math.max(0, ...stalls.map((each) => each.toOffsetNs - each.fromOffsetNs)) / 1e6,
    starved: health.starved,
  };
}
