import type { MessagePort } from 'node:worker_threads';
import type { ArenaSetup } from './check/answer-arena.ts';
import type { HeldAnswer } from './check/answer-to-check.ts';
import type { PackedDurations } from './durations.ts';
import type { ConnectionUse, DurationsNs, SenderHealth } from './engine-health.ts';
import type { FencedAddresses } from './guards.ts';
import type { InFlightLimits } from './in-flight.ts';
import type { SendBatch } from './send-batch.ts';

/** What a sender thread is born with. */
export interface SenderSetup {
  /** Which of the senders it is, from 0. */
  readonly sender: number;
  readonly ringMemory: SharedArrayBuffer;
  readonly inFlightMemory: SharedArrayBuffer;
  readonly inFlightLimits: InFlightLimits;
  readonly wakePort: MessagePort;
  readonly origin: string;
  readonly socketPath: string | null;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly judgedFromNs?: number;
  readonly catchUpGapNs: number;
  readonly warmConnections: number;
  readonly maxConnectionAgeMs: number | null;
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
  /** Addresses that no connection goes to, whatever the target's name means; left out for none. */
  readonly fenced?: FencedAddresses;
  readonly keeping?: ArenaSetup | null;
}

/** What a batch holds: requests whose instants were planned, or follow-ups. */
export type BatchKind = 'batch' | 'followUps';

/** Main to sender. `start` comes first; `finish` or `stop` last. */
export type ToSender =
  | { readonly kind: 'start'; readonly startNs: number }
  | { readonly kind: BatchKind; readonly batch: SendBatch }
  | { readonly kind: 'finish' }
  | { readonly kind: 'stop' };

/** A sender's last word. */
export interface SenderOver {
  readonly kind: 'over';
  readonly health: SenderHealth;
  readonly connections: ConnectionUse;
  /** Set-up times of its connections. */
  readonly connect: PackedDurations;
}

/** Sender to main. `ready` first, `over` last. */
export type FromSender =
  | { readonly kind: 'ready' }
  | { readonly kind: 'results'; readonly rows: Uint8Array; readonly kept?: readonly HeldAnswer[] }
  | SenderOver;

/** What the pacer thread is born with. */
export interface PacerSetup {
  readonly ringMemory: SharedArrayBuffer;
  /** One for each sender. */
  readonly wakePorts: readonly MessagePort[];
}

/** Main to pacer, once; from then on the pacer hears the ring only. */
export interface ToPacer {
  readonly startNs: number;
}

/** Pacer to main: `ready` once it listens, `over` when the ring has ended. */
export type FromPacer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'over'; readonly lateness: DurationsNs };
