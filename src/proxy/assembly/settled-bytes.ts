import type { LossReason, OmissionCause } from '../../core/accounting.ts';
import type { Exchange } from '../../core/exchange.ts';
import type { Settlement } from './settlement.ts';

/** What becomes of bytes that are not recorded. */
export type Unrecorded =
  | { readonly kind: 'lost'; readonly reason: LossReason }
  | { readonly kind: 'omitted'; readonly cause: OmissionCause };

/** Where a stretch ends, and what began in it. */
export interface Stretch {
  readonly clientEndOffset: number;
  readonly serverEndOffset: number;
  readonly turns: number;
}

/** One connection's account: bytes seen on either side, and how far they are settled. Never goes back. */
export class SettledBytes {
  readonly #sink: (settled: Settlement) => void;
  #clientSeen: number;
  #serverSeen: number;
  #clientSettled: number;
  #serverSettled: number;

  constructor(clientOffset: number, serverOffset: number, sink: (settled: Settlement) => void) {
    this.#clientSeen = clientOffset;
    this.#clientSettled = clientOffset;
    this.#serverSeen = serverOffset;
    this.#serverSettled = serverOffset;
    this.#sink = sink;
  }

  get clientSeen(): number {
    return this.#clientSeen;
  }

  get serverSeen(): number {
    return this.#serverSeen;
  }

  /** Counts client bytes as seen; answers the offset of the first of them. */
  clientCame(bytes: number): number {
    this.#clientSeen += bytes;
    return this.#clientSeen - bytes;
  }

  serverCame(bytes: number): number {
    this.#serverSeen += bytes;
    return this.#serverSeen - bytes;
  }

  record(exchange: Exchange, stretch: Stretch): void {
    this.#advance(stretch);
    const { clientEndOffset, serverEndOffset, turns } = stretch;
    this.#sink({ kind: 'recorded', exchange, clientEndOffset, serverEndOffset, turns });
  }

  leaveOut(as: Unrecorded, exchanges: number, stretch: Stretch): void {
    this.#advance(stretch);
    this.#sink({ ...as, exchanges, ...stretch });
  }

  /** Leaves out everything seen and not yet settled; says nothing when there is nothing. */
  leaveOutRest(as: Unrecorded, exchanges: number, turns: number): void {
    const bytes = this.#clientSeen - this.#clientSettled + this.#serverSeen - this.#serverSettled;
    if (bytes === 0 && exchanges === 0 && turns === 0) return;
    this.leaveOut(as, exchanges, {
      clientEndOffset: this.#clientSeen,
      serverEndOffset: this.#serverSeen,
      turns,
    });
  }

  #advance(stretch: Stretch): void {
    this.#clientSettled = stretch.clientEndOffset;
    this.#serverSettled = stretch.serverEndOffset;
  }
}
