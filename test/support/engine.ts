import { entryUrl } from '../../src/app/package.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { type EngineOptions, ReplayEngine } from '../../src/replay/engine/engine.ts';

/** An engine with its real threads. By default, its limits are beyond small tests. */
export function engineFor(
  origin: string,
  options: Partial<EngineOptions> = {},
  senderEntry = entryUrl('sender'),
  pacerEntry = entryUrl('pacer'),
  clock: Clock = systemClock,
): ReplayEngine {
  return new ReplayEngine(
    {
      origin,
      socketPath: null,
      senders: 1,
      maxInFlight: 1_000,
      maxInFlightBytes: 256 * 1024 * 1024,
      connectTimeoutMs: 2_000,
      firstByteTimeoutMs: 10_000,
      idleTimeoutMs: 10_000,
      totalTimeoutMs: 10_000,
      drainDeadlineMs: 5_000,
      peakRatePerSecond: 10_000,
      readAheadBytes: 64 * 1024 * 1024,
      readAheadRequests: 4_096,
      warmConnections: 2,
      rehearsed: 0,
      maxConnectionAgeMs: null,
      caPem: null,
      acceptAnyCertificate: false,
      ...options,
    },
    { clock, pacerEntry, senderEntry },
  );
}
