import type { Duplex } from 'node:stream';
import {
  type ConnectionStart,
  decodeMessage,
  encodeSettlements,
  FRAME,
  type Frame,
  FrameReader,
} from '../../src/proxy/tap/frames.ts';

interface ModelConnection {
  clientOffset: number;
  serverOffset: number;
  /** Whether a gap was reported since the last settlement. */
  gapped: boolean;
  closed: boolean;
}

/**
 * The recorder's end of a pipe, without assembly or sink. It follows every connection's offsets, checks that they agree
 * with the forwarder's, and settles on request.
 */
export class ModelRecorder {
  readonly connections = new Map<number, ModelConnection>();
  readonly faults: string[] = [];
  turnStarts = 0;
  bytes = 0;
  readonly #pipe: Duplex;
  /** Number of the last unanswered flush; 0 for none. */
  #flush = 0;

  constructor(pipe: Duplex) {
    this.#pipe = pipe;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    pipe.on('error', () => undefined);
  }

  /** Settles everything received so far. */
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
    const message = frame.type === FRAME.message ? decodeMessage(frame.payload) : null;
    if (message?.kind === 'open') this.#open(frame, message);
    if (message?.kind === 'flush') {
      this.#flush = message.number;
      setImmediate(() => this.settle());
      return;
    }
    const state = this.connections.get(frame.connection);
    if (!state) {
      this.faults.push(`frame ${frame.type} of unknown connection ${frame.connection}`);
      return;
    }
    if (frame.type === FRAME.clientBytes) state.clientOffset += frame.payload.length;
    if (frame.type === FRAME.serverBytes) state.serverOffset += frame.payload.length;
    if (message === null) this.bytes += frame.payload.length;
    if (frame.turnStart && frame.type === FRAME.clientBytes) this.turnStarts += 1;
    if (message?.kind === 'gap') {
      state.clientOffset += message.clientBytes;
      state.serverOffset += message.serverBytes;
      state.gapped = true;
    }
    if (message?.kind === 'close') {
      state.closed = true;
      const { clientBytes, serverBytes } = message;
      if (state.clientOffset !== clientBytes || state.serverOffset !== serverBytes) {
        const said = `${clientBytes},${serverBytes}`;
        this.faults.push(`close says ${said}, counted ${state.clientOffset},${state.serverOffset}`);
      }
    }
  }

  #open({ connection }: Frame, { clientBytes, serverBytes }: ConnectionStart): void {
    if (this.connections.has(connection)) this.faults.push(`connection ${connection} opened twice`);
    const offsets = { clientOffset: clientBytes, serverOffset: serverBytes };
    this.connections.set(connection, { ...offsets, gapped: false, closed: false });
  }
}
