import type { Duplex } from 'node:stream';
import { NO_PROGRESS, type Progress } from '../core/account.ts';
import type { LossReason } from '../core/accounting.ts';
import { LIMITS } from '../core/limits.ts';
import { NumberMap } from '../core/number-map.ts';
import { decodeOrigin } from './connection-origin.ts';
import { FedConnection, type RecorderDeps } from './fed-connection.ts';
import {
  encodeSettlements,
  FLAG_RESYNC,
  FRAME,
  type Frame,
  FrameReader,
  type PipeSettlement,
  readDoubles,
} from './frames.ts';

/** The pipe at the recorder's end: frames in, settlements out. */
export class PipeFeed {
  readonly #pipe: Duplex;
  readonly #deps: RecorderDeps;
  readonly #connections = new NumberMap<FedConnection>();
  #waiting: PipeSettlement[] = [];
  /** Where in it each connection's last one is. */
  readonly #lastWaiting = new NumberMap<number>();
  #waitingSinceNs = 0;
  /** Of what waits to be committed. */
  #recorded = { ...NO_PROGRESS };
  /** Number of the last flush that was asked for and is not answered; 0 for none. */
  #flushAsked = 0;

  constructor(pipe: Duplex, deps: RecorderDeps, onProgress: () => void) {
    this.#pipe = pipe;
    this.#deps = deps;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      onProgress();
    });
    // The close that follows says all there is to know: the forwarder is gone.
    pipe.on('error', () => undefined);
  }

  /** What is recorded once the next commit succeeds. */
  get recorded(): Progress {
    return this.#recorded;
  }

  /** Whether something here wants a commit even if the sink does not. */
  wantsCommit(): boolean {
    if (this.#flushAsked > 0) return true;
    const waitedNs = this.#deps.clock.nowNs() - this.#waitingSinceNs;
    return this.#waiting.length > 0 && waitedNs >= LIMITS.commitDelayMs * 1e6;
  }

  /** The batch is committed, or lost: either way it is settled. */
  acknowledge(lost: LossReason | null): void {
    const batch = lost === null ? this.#waiting : this.#waiting.map((settlement) => asLost(settlement, lost));
    this.#waiting = [];
    this.#lastWaiting.clear();
    this.#recorded = { ...NO_PROGRESS };
    if (this.#flushAsked > 0) batch.push({ ...FLUSHED, connection: this.#flushAsked });
    this.#flushAsked = 0;
    if (batch.length > 0 && this.#pipe.writable) this.#pipe.write(encodeSettlements(batch));
  }

  /**
   * The forwarder is gone, or nobody listens to it any more. One that ends in good order closed its connections
   * before; of those still open nobody will say how they ended. They are abandoned in no order.
   * @returns how many were open
   */
  abandon(because: LossReason): number {
    const nowNs = this.#deps.clock.nowNs();
    for (const connection of this.#connections.values()) connection.abandon(nowNs, because);
    const open = this.#connections.size;
    this.#connections.clear();
    return open;
  }

  #take(frame: Frame): void {
    if (frame.type === FRAME.open) this.#open(frame);
    else if (frame.type === FRAME.flush) this.#flushAsked = frame.connection;
    else {
      const { mark } = this.#deps;
      mark?.set(frame.connection);
      this.#connections.get(frame.connection)?.take(frame);
      mark?.clear();
      if (frame.type === FRAME.close) this.#connections.delete(frame.connection);
    }
  }

  #open(frame: Frame): void {
    const [clientOffset = 0, serverOffset = 0] = readDoubles(frame.payload.subarray(0, 16));
    const origin = decodeOrigin(frame.payload.subarray(16));
    const resync = (frame.flags & FLAG_RESYNC) !== 0;
    const client = origin.clientConnection ?? frame.connection;
    const connection = new FedConnection(
      frame.connection,
      this.#deps,
      { origin, number: client, clientOffset, serverOffset, resync },
      (settlement) => this.#answer(settlement),
      (bytes, turns) => this.#note(bytes, turns),
    );
    this.#connections.set(frame.connection, connection);
  }

  /** What is recorded of one connection in one commit is one settlement: the pipe carries no more than it must. */
  #answer(settlement: PipeSettlement): void {
    this.#startWaiting();
    const index = this.#lastWaiting.get(settlement.connection);
    const last = index === undefined ? undefined : this.#waiting[index];
    if (index !== undefined && last?.kind === 'recorded' && settlement.kind === 'recorded') {
      this.#waiting[index] = { ...settlement, exchanges: last.exchanges + settlement.exchanges };
    } else this.#lastWaiting.set(settlement.connection, this.#waiting.push(settlement) - 1);
  }

  #note(bytes: number, turns: number): void {
    this.#recorded.bytes += bytes;
    this.#recorded.turns += turns;
    this.#recorded.exchanges += 1;
  }

  #startWaiting(): void {
    if (this.#waiting.length === 0) this.#waitingSinceNs = this.#deps.clock.nowNs();
  }
}

const FLUSHED: PipeSettlement = {
  kind: 'flushed',
  because: null,
  connection: 0,
  clientEndOffset: 0,
  serverEndOffset: 0,
  exchanges: 0,
};

function asLost(settlement: PipeSettlement, because: LossReason): PipeSettlement {
  return settlement.kind === 'recorded' ? { ...settlement, kind: 'lost', because } : settlement;
}
