import { fstatSync, writeSync } from 'node:fs';
import { expect } from 'vitest';
import { LAUNCH_BYTES } from '../../src/replay/launch-pad.ts';
import type { OutgoingRequest } from '../../src/replay/send-batch.ts';
import type { Http1Transport, LaidOut, SendHandle } from '../../src/replay/transport.ts';
import { hearing, type Outcome } from './transport-stage.ts';

/** When a request was written, as its sender is told. */
export const WRITTEN_NS = 5;

/** A request that is laid out for an idle connection, and what its connection asked since. */
export class LaidOutRequest {
  /** For each time that its connection had to know: whether its descriptor was its own then. */
  readonly asked: boolean[] = [];
  readonly outcome: Promise<Outcome>;
  /** When it says that it started. */
  startedNs: number | undefined;
  handle: SendHandle | null = null;
  readonly #into = Buffer.alloc(LAUNCH_BYTES);
  readonly #hearing = hearing();
  readonly #laidOut: LaidOut;
  #writtenBytes = 0;
  /** Nobody has been told yet what became of it. */
  #waits = true;

  constructor(transport: Http1Transport, request: OutgoingRequest, onAsked = (): void => undefined) {
    this.outcome = this.#hearing.outcome;
    const { listener } = this.#hearing;
    const { onStart } = listener;
    listener.onStart = (isReused, atNs) => {
      this.startedNs = atNs;
      onStart(isReused, atNs);
    };
    const laidOut = transport.layOut(request, this.#into, () => {
      this.#needed();
      onAsked();
    });
    if (laidOut === null) throw new Error('no connection is idle');
    this.#laidOut = laidOut;
  }

  get bytes(): Buffer {
    return this.#into.subarray(0, this.#laidOut.bytes);
  }

  /** Whether its descriptor is still that of its connection. */
  get isOpen(): boolean {
    const { fd, inode } = this.#laidOut.descriptor;
    try {
      return fstatSync(fd).ino === inode;
    } catch {
      return false;
    }
  }

  /** Writes it as another thread does: its connection knows nothing of that. @param bytes all unless told otherwise */
  write(bytes = this.#laidOut.bytes): void {
    this.#writtenBytes = writeSync(this.#laidOut.descriptor.fd, this.#into, 0, bytes);
    expect(this.#writtenBytes).toBe(bytes);
  }

  /** Its sender looks, with nothing that made it. */
  settle(): void {
    this.#waits = false;
    if (this.#writtenBytes === 0) this.#laidOut.withdraw();
    else {
      const isWhole = this.#writtenBytes === this.#laidOut.bytes;
      const rest = isWhole ? null : Buffer.from(this.bytes.subarray(this.#writtenBytes));
      this.handle = this.#laidOut.launched(this.#hearing.listener, WRITTEN_NS, rest);
    }
  }

  discard(): void {
    this.#waits = false;
    this.#laidOut.discard();
  }

  #needed(): void {
    this.asked.push(this.isOpen);
    if (this.#waits) this.settle();
  }
}
