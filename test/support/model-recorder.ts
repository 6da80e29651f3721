import type { Duplex } from 'node:stream';
import {
  encodeSettlements,
  FLAG_RESYNC,
  FLAG_TURN_START,
  FRAME,
  type Frame,
  FrameReader,
  readDoubles,
} from '../../src/proxy/tap/frames.ts';

interface ModelConnection {
  clientOffset: number;
  serverOffset: number;
  /** A gap was reported since the last settlement. */
  gapped: boolean;
  closed: boolean;
}

/**
 * The recorder's end of a pipe without assembly or sink: follows every connection's offsets, checks that they
 * agree with what the forwarder says, and settles when it is told to.
 */
export class ModelRecorder {
  readonly connections = new Map<number, ModelConnection>();
  readonly faults: string[] = [];
  turnStarts = 0;
  bytes = 0;
  readonly #pipe: Duplex;
  /** Number of the last flush that is not answered; 0 for none. */
  #flush = 0;

  constructor(pipe: Duplex) {
    this.#pipe = pipe;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    pipe.on('error', () => undefined);
  }

  /** Settles everything taken so far. */
  settle(): void {
    const settlements = [...this.connections].map(([connection, state]) => {
      const fate = state.gapped
        ? ({ kind: 'lost', because: 'queue_bytes' } as const)
        : ({ kind: 'recorded', because: null } as const);
      state.gapped = false;
      if (state.closed) this.connections.delete(connection);
      const { clientOffset: clientEndOffset, serverOffset: serverEndOffset } = state;
      return { ...fate, connection, clientEndOffset, serverEndOffset, exchanges: 1 };
    });
    this.#pipe.write(encodeSettlements(settlements));
    if (this.#flush === 0) return;
    const flush = { connection: this.#flush, clientEndOffset: 0, serverEndOffset: 0, exchanges: 0 };
    this.#flush = 0;
    this.#pipe.write(encodeSettlements([{ kind: 'flushed', because: null, ...flush }]));
  }

  #take(frame: Frame): void {
    const amounts = readDoubles(frame.payload.subarray(0, frame.payload.length & ~7));
    if (frame.type === FRAME.open) this.#open(frame, amounts);
    if (frame.type === FRAME.flush) {
      this.#flush = frame.connection;
      setImmediate(() => this.settle());
      return;
    }
    const state = this.connections.get(frame.connection);
    if (!state) {
      if (frame.connection !== 0)
        this.faults.push(`frame ${frame.type} of unknown connection ${frame.connection}`);
      return;
    }
    if (frame.type === FRAME.clientBytes) state.clientOffset += frame.payload.length;
    if (frame.type === FRAME.serverBytes) state.serverOffset += frame.payload.length;
    if (frame.type === FRAME.clientBytes || frame.type === FRAME.serverBytes)
      this.bytes += frame.payload.length;
    if (frame.flags & FLAG_TURN_START && frame.type === FRAME.clientBytes) this.turnStarts += 1;
    if (frame.type === FRAME.gap) {
      state.clientOffset += amounts[0] ?? 0;
      state.serverOffset += amounts[1] ?? 0;
      state.gapped = true;
    }
    if (frame.type === FRAME.close) {
      state.closed = true;
      if (state.clientOffset !== amounts[0] || state.serverOffset !== amounts[1]) {
        this.faults.push(`close says ${amounts}, counted ${state.clientOffset},${state.serverOffset}`);
      }
    }
  }

  #open(frame: Frame, [clientOffset = 0, serverOffset = 0]: number[]): void {
    if (this.connections.has(frame.connection))
      this.faults.push(`connection ${frame.connection} opened twice`);
    if (clientOffset + serverOffset > 0 !== ((frame.flags & FLAG_RESYNC) !== 0))
      this.faults.push('resync flag');
    this.connections.set(frame.connection, { clientOffset, serverOffset, gapped: false, closed: false });
  }
}
