import type { MessagePort } from 'node:worker_threads';
import type { ConnectionUse, DurationsNs } from './engine-health.ts';
import type { SendBatch } from './send-batch.ts';
import type { SenderHealth } from './sender.ts';

/** What the sender thread is born with. */
export interface SenderSetup {
  readonly ringMemory: SharedArrayBuffer;
  readonly wakePort: MessagePort;
  readonly origin: string;
  readonly maxInFlight: number;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly catchUpGapNs: number;
  readonly warmConnections: number;
  readonly maxConnectionAgeMs: number | null;
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
}

/** Main to sender. `start` comes first; `finish` or `stop` last. */
export type ToSender =
  | { readonly kind: 'start'; readonly startNs: number }
  | { readonly kind: 'batch'; readonly batch: SendBatch }
  | { readonly kind: 'finish' }
  | { readonly kind: 'stop' };

/** Sender to main. `ready` first, `over` last. */
export type FromSender =
  | { readonly kind: 'ready' }
  | { readonly kind: 'results'; readonly rows: Uint8Array }
  | { readonly kind: 'over'; readonly health: SenderHealth; readonly connections: ConnectionUse };

/** What the pacer thread is born with. */
export interface PacerSetup {
  readonly ringMemory: SharedArrayBuffer;
  readonly wakePort: MessagePort;
}

/** Main to pacer, once; from then on the pacer hears the ring only. */
export interface ToPacer {
  readonly startNs: number;
}

/** Pacer to main: `ready` once it listens, `over` when the ring has ended. */
export type FromPacer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'over'; readonly lateness: DurationsNs };
