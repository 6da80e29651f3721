import type { Clock } from '../core/clock.ts';
import type { AnswerArena } from './check/answer-arena.ts';
import type { SenderSignals } from './due-ring.ts';
import type { SenderHealth } from './engine-health.ts';
import type { Transport } from './http/client.ts';
import type { InFlight } from './in-flight.ts';
import type { LoopTime } from './loop-time.ts';
import type { CatchUp } from './pacer.ts';
import type { SendResult } from './send-result.ts';

export interface SenderOptions {
  /** The run's zero, monotonic. */
  readonly startNs: number;
  /** Offset from which on what we did wrong is counted; without it, from the first send. */
  readonly judgedFromNs?: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly catchUp: CatchUp;
  /** This close to an instant the sender waits for it awake. At least the pacer's lead. */
  readonly spinNs: number;
}

export interface SenderDeps {
  readonly clock: Clock;
  /** That of the sender's event loop; the sender looks at it. */
  readonly loopTime: LoopTime;
  readonly transport: Transport;
  readonly signals: SenderSignals;
  /** What this sender and the others have under way. */
  readonly inFlight: InFlight;
  /** Where answers are kept to be compared; null or left out where they are not. */
  readonly keeping?: AnswerArena | null;
  /** Runs a callback after the event loop has had a turn. */
  readonly afterTurn: (callback: () => void) => void;
  readonly afterMs: (callback: () => void, ms: number) => void;
  /** By `loopTime`, and after whatever had come by then was read; the answer takes it back. */
  readonly afterHearing: (callback: () => void, ms: number) => () => void;
  /** Nanoseconds the event loop has slept so far. */
  readonly loopIdleNs: () => number;
  readonly onResults: (results: SendResult[]) => void;
  /** Every request handed over has its result, all of them reported. */
  readonly onOver: (health: SenderHealth) => void;
}
