import type { Duplex } from 'node:stream';
import { addLoss, LOSS_REASONS, type Loss, type LossReason, OMISSION_CAUSES } from '../core/accounting.ts';
import { LIMITS } from '../core/limits.ts';
import { NumberMap } from '../core/number-map.ts';
import { decodeOrigin } from './connection-origin.ts';
import { FedConnection, type RecorderDeps } from './fed-connection.ts';
import {
  encodeSettlements,
  FLAG_RESYNC,
  FLAG_TURN_START,
  FRAME,
  type Frame,
  FrameReader,
  type PipeSettlement,
  readDoubles,
} from './frames.ts';
import type { Heard } from './hand-over.ts';
import type { Tally } from './ledger.ts';

/** Where a feed stands among those of its recorder. */
interface FeedPlace {
  /** Of the forwarder. */
  readonly slot: number;
  /** Counts the feeds of the recorder's life; forwarders that follow each other in a place have different ones. */
  readonly ordinal: number;
}

/** A pipe numbers its connections with 32 bits. */
const NUMBERS_PER_FEED = 2 ** 32;

/** One forwarder's pipe at the recorder's end: frames in, settlements out. */
export class PipeFeed {
  readonly #pipe: Duplex;
  readonly #deps: RecorderDeps;
  readonly #place: FeedPlace;
  readonly #connections = new NumberMap<FedConnection>();
  #waiting: PipeSettlement[] = [];
  /** Where in it each connection's last one is. */
  readonly #lastWaiting = new NumberMap<number>();
  /** Something was noted that no settlement waits for. */
  #noted = false;
  #waitingSinceNs = 0;
  readonly #heard: Tally = { bytes: 0, turns: 0 };
  readonly #heardLosses = new Map<LossReason, Loss>();
  /** Number of the last flush that was asked for and is not answered; 0 for none. */
  #flushAsked = 0;

  constructor(pipe: Duplex, deps: RecorderDeps, place: FeedPlace, onProgress: () => void) {
    this.#pipe = pipe;
    this.#deps = deps;
    this.#place = place;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => {
      reader.push(chunk);
      onProgress();
    });
    // The close that follows says all there is to know: the forwarder is gone.
    pipe.on('error', () => undefined);
  }

  /** How much of the traffic came through it, and of what losses it was told. */
  get heard(): Heard {
    return { ...this.#heard, losses: [...this.#heardLosses.values()] };
  }

  /** Whether something here wants a commit even if the sink does not. */
  wantsCommit(): boolean {
    if (this.#flushAsked > 0) return true;
    const waitedNs = this.#deps.clock.nowNs() - this.#waitingSinceNs;
    return (this.#noted || this.#waiting.length > 0) && waitedNs >= LIMITS.commitDelayMs * 1e6;
  }

  /** The batch is committed, or lost: either way it is settled. */
  acknowledge(lost: LossReason | null): void {
    const batch = lost === null ? this.#waiting : this.#waiting.map((settlement) => asLost(settlement, lost));
    this.#waiting = [];
    this.#lastWaiting.clear();
    this.#noted = false;
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
    else if (frame.type === FRAME.loss) this.#noteLoss(frame);
    else if (frame.type === FRAME.omission) this.#noteOmission(frame);
    else if (frame.type === FRAME.flush) this.#flushAsked = frame.connection;
    else {
      const { mark } = this.#deps;
      this.#hear(frame);
      mark?.set(this.#place.slot, frame.connection);
      this.#connections.get(frame.connection)?.take(frame);
      mark?.clear();
      if (frame.type === FRAME.close) this.#connections.delete(frame.connection);
    }
  }

  #hear({ type, flags, payload, atNs }: Frame): void {
    if (type === FRAME.clientBytes || type === FRAME.serverBytes) {
      this.#heard.bytes += payload.length;
      if (type === FRAME.clientBytes) this.#heard.turns += flags & FLAG_TURN_START;
    } else if (type === FRAME.gap) {
      const [clientBytes = 0, serverBytes = 0, turns = 0] = readDoubles(payload);
      this.#hearLoss(flags, turns, clientBytes + serverBytes, atNs, atNs);
    }
  }

  /** The sink is told by whoever takes the frame. */
  #hearLoss(flags: number, exchanges: number, bytes: number, fromNs: number, toNs: number): Loss {
    const { epochUsOf } = this.#deps.context;
    const reason = LOSS_REASONS[flags] ?? 'corrupt';
    const loss = { reason, exchanges, bytes, fromUs: epochUsOf(fromNs), toUs: epochUsOf(toNs) };
    addLoss(this.#heardLosses, loss);
    return loss;
  }

  #open(frame: Frame): void {
    const [clientOffset = 0, serverOffset = 0] = readDoubles(frame.payload.subarray(0, 16));
    const origin = decodeOrigin(frame.payload.subarray(16));
    const resync = (frame.flags & FLAG_RESYNC) !== 0;
    const client = origin.clientConnection ?? frame.connection;
    const number = this.#place.ordinal * NUMBERS_PER_FEED + client;
    const connection = new FedConnection(
      frame.connection,
      this.#deps,
      { origin, number, clientOffset, serverOffset, resync },
      (settlement) => this.#answer(settlement),
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

  #startWaiting(): void {
    if (this.#waiting.length === 0 && !this.#noted) this.#waitingSinceNs = this.#deps.clock.nowNs();
  }

  #noteOmission(frame: Frame): void {
    const [turns = 0, bytes = 0] = readDoubles(frame.payload);
    this.#startWaiting();
    this.#noted = true;
    this.#deps.sink.addOmission({
      cause: OMISSION_CAUSES[frame.flags] ?? 'unparsed',
      exchanges: turns,
      bytes,
    });
  }

  #noteLoss(frame: Frame): void {
    const [turns = 0, bytes = 0, fromNs = 0, toNs = 0] = readDoubles(frame.payload);
    this.#startWaiting();
    this.#noted = true;
    this.#deps.sink.addLoss(this.#hearLoss(frame.flags, turns, bytes, fromNs, toNs));
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
