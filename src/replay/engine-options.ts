import { LIMITS } from '../core/limits.ts';
import type { EngineOptions } from './engine/engine.ts';
import type { Forecast } from './forecast.ts';
import type { ReplayOptions } from './options/replay-options.ts';
import type { Target } from './target.ts';

/** Opened before the start; the rest is opened as open loop needs it. */
const MAX_WARM_CONNECTIONS = 32;

/**
 * What the engine is asked for, from what the user asked for and what the window foretells.
 * @param growth the most that a second of the recording may become
 * @param judgedFromNs where the judged part begins
 */
export function engineOptionsOf(
  options: ReplayOptions,
  target: Target,
  forecast: Forecast,
  growth: number,
  judgedFromNs: number,
): EngineOptions {
  return {
    origin: target.origin,
    startAtUs: options.startAtUs,
    socketPath: target.socketPath,
    senders: options.senders,
    maxInFlight: options.maxInFlight,
    maxInFlightBytes: options.maxInFlightBytes,
    connectTimeoutMs: options.connectTimeoutMs,
    firstByteTimeoutMs: options.firstByteTimeoutMs,
    idleTimeoutMs: options.idleTimeoutMs,
    totalTimeoutMs: options.timeoutMs,
    drainDeadlineMs: options.drainDeadlineMs,
    // A stretched replay (below 1x) still sends a recorded burst as tightly as a second of it was.
    peakRatePerSecond: Math.max(1, forecast.recordedPeakPerSecond * Math.max(1, growth)),
    readAheadBytes: LIMITS.readAheadBytes,
    readAheadRequests: LIMITS.readAheadRequests,
    held:
      options.sessionOrder === 'open'
        ? null
        : { maxRequests: LIMITS.heldFollowUps, maxBytes: LIMITS.heldFollowUpBytes },
    warmConnections: Math.min(MAX_WARM_CONNECTIONS, Math.max(1, forecast.plannedPeakPerSecond)),
    maxConnectionAgeMs: options.maxConnectionAgeMs,
    caPem: options.caPem,
    acceptAnyCertificate: options.acceptAnyCertificate,
    judgedFromNs,
    startBeforeReading: options.shiftTime.length > 0,
  };
}
