import type { LossReason } from '../../core/accounting.ts';
import { isRequestLine } from '../../http1/heads.ts';
import type { CloseCause } from '../frames.ts';
import type { AssemblyContext } from './options.ts';
import { Pairing, type Stop } from './pairing.ts';
import { SettledBytes } from './settled-bytes.ts';
import type { ConnectionFeed, Settlement } from './settlement.ts';

/** One connection's own part. */
export interface ConnectionOptions {
  /** Number of the client connection within its recorder's life. */
  readonly connection: number;
  /** The client's IP address; null where none is known. */
  readonly peer?: string | null;
  /** Receives every settlement, in order, during the call that brought it about. */
  readonly sink: (settled: Settlement) => void;
  /**
   * Called once when nothing further on this connection can become an exchange (a tunnel, another protocol, or
   * a framing that is refused). The data plane may then stop copying bytes; those still fed are settled as
   * `omitted: unparsed`.
   */
  readonly onOpaque?: (protocol: string) => void;
  /** Called once when a request began before the one before it was answered. */
  readonly onPipelined?: () => void;
  /** Set when the beginning of the connection was not seen: where it is picked up, and why so late. */
  readonly resync?: ResyncStart;
}

/** Offsets are bytes of each direction since the start of the connection, all settled elsewhere. */
export interface ResyncStart {
  readonly reason: LossReason;
  readonly clientOffset: number;
  readonly serverOffset: number;
}

/**
 * - `reading`: exchanges are assembled.
 * - `waiting`: bytes were missed; everything is lost until a turn begins with a request line. A client that was seen
 *   to pipeline stays here to its end: an answer to an earlier request looks like the answer to the next one.
 * - `candidate`: such a turn is being read; the next server chunk must begin with `HTTP/1.`.
 * - `confirming`: it did; the first exchange settled makes it certain.
 * - `opaque`: nothing further can become an exchange.
 */
type State = 'reading' | 'waiting' | 'candidate' | 'confirming' | 'opaque' | 'closed';

const STATUS_LINE_START = Buffer.from('HTTP/1.');

/**
 * Assembles the exchanges of one connection from the bytes a tap saw. Off the forwarding path, and never
 * throwing: what cannot be read with certainty is settled as omitted or lost, not guessed at.
 */
export class ConnectionAssembly implements ConnectionFeed {
  readonly #settled: SettledBytes;
  readonly #pairing: Pairing;
  readonly #onOpaque: ((protocol: string) => void) | undefined;
  readonly #onPipelined: (() => void) | undefined;
  #pipelined = false;
  #state: State = 'reading';
  /** What bytes are lost for while waiting. */
  #lossReason: LossReason = 'crash_gap';

  constructor(context: AssemblyContext, options: ConnectionOptions) {
    const { connection, peer = null, sink, onOpaque, onPipelined, resync } = options;
    this.#settled = new SettledBytes(resync?.clientOffset ?? 0, resync?.serverOffset ?? 0, sink);
    this.#pairing = new Pairing(context, { connection, peer }, this.#settled);
    this.#onOpaque = onOpaque;
    this.#onPipelined = onPipelined;
    if (resync !== undefined) this.#wait(resync.reason);
  }

  clientBytes(atNs: number, bytes: Uint8Array, turnStart: boolean): void {
    if (this.#state === 'closed') return;
    const offset = this.#settled.clientCame(bytes.length);
    const buffer = asBuffer(bytes);
    if (turnStart) {
      this.#pairing.countTurns(1);
      const takenUp = this.#state === 'waiting' && !this.#pipelined && beginsWithRequestLine(buffer);
      if (takenUp) this.#state = 'candidate';
    }
    if (this.#isReading()) this.#heed(this.#pairing.readClient(atNs, buffer, offset));
    else this.#dropPending();
  }

  serverBytes(atNs: number, bytes: Uint8Array): void {
    if (this.#state === 'closed') return;
    const offset = this.#settled.serverCame(bytes.length);
    const buffer = asBuffer(bytes);
    if (this.#state === 'candidate') {
      const begins = buffer.subarray(0, STATUS_LINE_START.length).equals(STATUS_LINE_START);
      this.#state = begins ? 'confirming' : 'waiting';
      // An earlier answer goes on: its client did not wait for the end of it.
      if (!begins) this.#notePipelined();
    }
    if (this.#isReading()) this.#heed(this.#pairing.readServer(atNs, buffer, offset));
    else this.#dropPending();
  }

  gap(reason: LossReason, clientBytes: number, serverBytes: number, turns = 0): void {
    if (this.#state === 'closed') return;
    this.#settled.clientCame(clientBytes);
    this.#settled.serverCame(serverBytes);
    this.#pairing.countTurns(turns);
    this.#pairing.drop({ kind: 'lost', reason });
    if (this.#state !== 'opaque') this.#wait(reason);
  }

  clientEnd(atNs: number): void {
    if (this.#pairing.firstEnd !== null) return;
    this.#pairing.firstEnd = 'client';
    this.#pairing.clientEndNs = atNs;
  }

  serverEnd(_atNs: number): void {
    this.#pairing.firstEnd ??= 'server';
    if (this.#isReading()) this.#heed(this.#pairing.serverEnd());
  }

  close(atNs: number, how: CloseCause): void {
    if (this.#state === 'closed') return;
    if (how === 'client_end' || how === 'client_reset') this.clientEnd(atNs);
    else if (how === 'server_end') this.serverEnd(atNs);
    else if (how === 'server_reset') this.#pairing.firstEnd ??= 'server';
    else if (how === 'timed_out') this.#pairing.firstEnd ??= 'timeout';
    if (!this.#isReading() || this.#state === 'candidate') this.#dropPending();
    else if (how === 'shutdown') this.#pairing.drop({ kind: 'lost', reason: 'shutdown_timeout' });
    else this.#pairing.settleUnfinished();
    this.#state = 'closed';
  }

  #isReading(): boolean {
    return this.#state === 'reading' || this.#state === 'candidate' || this.#state === 'confirming';
  }

  #heed(stop: Stop | null): void {
    if (this.#pairing.pipelined && !this.#pipelined) this.#notePipelined();
    if (this.#state === 'confirming' && this.#pairing.settledExchanges > 0) this.#state = 'reading';
    if (stop === null) return;
    if (stop.kind === 'starved') {
      this.#pairing.drop({ kind: 'lost', reason: 'body_budget' });
      this.#wait('body_budget');
    } else if (this.#state === 'reading') {
      this.#pairing.drop({ kind: 'omitted', cause: 'unparsed' });
      this.#state = 'opaque';
      this.#onOpaque?.(stop.protocol);
    } else {
      // What looked like the start of a request was none.
      this.#state = 'waiting';
      this.#dropPending();
    }
  }

  #notePipelined(): void {
    this.#pipelined = true;
    this.#onPipelined?.();
    if (this.#state !== 'candidate' && this.#state !== 'confirming') return;
    // What it was answered since it was resumed may be answers to earlier requests.
    this.#state = 'waiting';
    this.#dropPending();
  }

  #wait(reason: LossReason): void {
    this.#state = 'waiting';
    this.#lossReason = reason;
  }

  /** Settles what is pending as the state has it. */
  #dropPending(): void {
    if (this.#state === 'opaque') this.#pairing.drop({ kind: 'omitted', cause: 'unparsed' });
    else this.#pairing.drop({ kind: 'lost', reason: this.#lossReason });
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function beginsWithRequestLine(bytes: Buffer): boolean {
  const lineEnd = bytes.indexOf(0x0a);
  if (lineEnd < 0) return false;
  const line = bytes.toString('latin1', 0, lineEnd);
  return isRequestLine(line.endsWith('\r') ? line.slice(0, -1) : line);
}
