import type { AnswerHead } from './answer-reader.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { PackedDurations } from './durations.ts';
import type { ConnectionUse } from './engine-health.ts';
import type { Descriptor } from './launch-pad.ts';
import type { OutgoingRequest } from './send-batch.ts';
import type { SendEnd } from './send-error.ts';

/** What a transport tells about one request, in this order; exactly one of `onEnd` and `onError` comes last. */
export interface SendEvents {
  /** Its first byte is being written; or was, at a monotonic instant. */
  onStart(reusedConnection: boolean, atNs?: number): void;
  /** Nobody holds its body any more; told of large ones only, and not when the request ends before. */
  onBodyWritten(): void;
  /** First byte of a response; again for each response when interim ones come first. */
  onFirstByte(): void;
  onStatus(status: number, head: AnswerHead): void;
  /** A piece of the body as it came; it belongs to the transport, and is to be read now or copied. */
  onData(bytes: Buffer): void;
  onEnd(): void;
  onError(end: SendEnd): void;
}

export interface SendHandle {
  /** Ends the request, whatever its state; `onError(end)` follows unless it is over. */
  abort(end: SendEnd): void;
}

/** A request whose bytes are laid out, and the idle connection that is kept for it. */
export interface LaidOut {
  /** Of that connection. */
  readonly descriptor: Descriptor;
  readonly bytes: number;
  /** It was written at an instant, but for the rest, which is written now. */
  launched(events: SendEvents, atNs: number, rest: Buffer | null): SendHandle;
  /** It goes another way: its connection is free again. */
  withdraw(): void;
  /** Its connection took nothing: it is of no use any more. */
  discard(): void;
}

/** How requests reach the target. Real: connections of our own; in tests: a script. */
export interface Transport {
  send(request: OutgoingRequest, events: SendEvents): SendHandle;
  /**
   * Lays a request out to be written by somebody else.
   * @param into where its bytes are to lie
   * @param onNeeded its connection ends, or something came on it: from its return on either it was launched or withdrawn
   * @returns null where that cannot be: no connection is idle, it is encrypted, or the request is too long
   */
  layOut?(request: OutgoingRequest, into: Buffer, onNeeded: () => void): LaidOut | null;
  /** Opens connections ahead of the first request. */
  warm(connections: number): Promise<void>;
  use(): ConnectionUse;
  close(): void;
}

/** Sends over pooled connections of our own. */
export class Http1Transport implements Transport {
  readonly #pool: ConnectionPool;

  constructor(pool: ConnectionPool) {
    this.#pool = pool;
  }

  send(request: OutgoingRequest, events: SendEvents): SendHandle {
    return this.#pool.acquire(request.lane).carry(request, events);
  }

  layOut(request: OutgoingRequest, into: Buffer, onNeeded: () => void): LaidOut | null {
    const connection = this.#pool.takeLaunchable();
    const laidOut = connection?.layOut(request, into, onNeeded) ?? null;
    if (laidOut === null) connection?.rest();
    return laidOut;
  }

  warm(connections: number): Promise<void> {
    return this.#pool.warm(connections);
  }

  use(): ConnectionUse {
    return this.#pool.use();
  }

  /** Set-up times of its connections, as they go to another thread. */
  connectTimes(): PackedDurations {
    return this.#pool.connectTimes();
  }

  close(): void {
    this.#pool.close();
  }
}
