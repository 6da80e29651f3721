import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/ports.ts';
import type { EngineHealth } from './engine-health.ts';
import type { PreparedRequest } from './prepared-request.ts';
import type { SendResult } from './send-result.ts';

export type { AddressUse, ConnectionUse, DurationsNs, EngineHealth, Stall } from './engine-health.ts';
export type { PreparedRequest } from './prepared-request.ts';
export type { SendResult } from './send-result.ts';

/** Resolved options of one engine; nothing below applies a default. */
export interface EngineOptions {
  /** `http://host:port` or `https://host:port`, without a path. */
  readonly origin: string;
  readonly maxInFlight: number;
  /** Connection set-up, TLS included. */
  readonly connectTimeoutMs: number;
  /** From the request being written to the response head. */
  readonly firstByteTimeoutMs: number;
  /** Between two pieces of a response body. */
  readonly idleTimeoutMs: number;
  /** From the actual send to the last byte. */
  readonly totalTimeoutMs: number;
  /** After the last send, or a stop, how long requests in flight may still finish. */
  readonly drainDeadlineMs: number;
  /** After a stall overdue requests go no tighter than this rate, unless the plan itself is tighter there. */
  readonly peakRatePerSecond: number;
  readonly readAheadBytes: number;
  readonly readAheadRequests: number;
  /** Connections opened before the start, spread over the target's addresses. */
  readonly warmConnections: number;
  /** A connection older than this is closed when it next falls idle; null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  /** TLS targets: extra trusted certificates (PEM), and whether an unverifiable one is accepted. */
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
}

export interface EngineDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Entry files of the two worker threads. */
  readonly pacerEntry: URL;
  readonly senderEntry: URL;
}

/** The public face of the engine; `ReplayEngine` in this file implements it. */
export interface Engine {
  /**
   * Sends every request at its instant and reports each exactly once, in batches, in order of completion.
   * `requests` is pulled on the calling thread in small slices, at most about two seconds of schedule and the
   * read-ahead bounds before it is due. Requests never reached because of a stop have no result.
   * When `signal` aborts, sending stops at once and what is in flight has `drainDeadlineMs` to finish.
   * @throws what the iterator or `onResults` throws, and AppError INTERNAL when a thread dies.
   */
  run(
    requests: Iterator<PreparedRequest>,
    onResults: (batch: SendResult[]) => void,
    signal: AbortSignal,
  ): Promise<EngineHealth>;
}
