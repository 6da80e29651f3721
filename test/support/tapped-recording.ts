import { expect } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { parseRequestHead } from '../../src/core/headers.ts';
import type { CommittingSink } from '../../src/core/ports.ts';
import { type Answer, FedConnection } from '../../src/proxy/recorder/pipe-server.ts';
import { Counters, type CountersReading } from '../../src/proxy/tap/counters.ts';
import {
  type ConnectionStart,
  decodeMessage,
  FRAME,
  type Frame,
  type FrameHead,
  UNKNOWN_ORIGIN,
} from '../../src/proxy/tap/frames.ts';
import { ConnectionTap, type RecorderClient } from '../../src/proxy/tap/recorder-client.ts';
import { latin1, makeContext } from '../proxy/recorder/harness.ts';
import { imbalance } from './imbalance.ts';
import { ManualClock } from './manual-clock.ts';

/** One connection from its tap to its recorded rows. A test can make the pipe drop data and the recorder die. */
export class TappedRecording {
  readonly #exchanges: Exchange[] = [];
  readonly #ledger = new Counters();
  readonly #clock = new ManualClock();
  readonly #tap: ConnectionTap;
  #recorder: FedConnection | null = null;
  #piped: Frame[] = [];
  /** What the recorder did not commit yet. */
  #waiting: Answer[] = [];
  #bytes = 0;
  shedding = false;
  /** The recorder reads nothing. */
  hanging = false;
  /** It commits nothing. */
  waiting = false;

  constructor() {
    const piped = (head: FrameHead, payload: Uint8Array) => {
      this.#piped.push({ ...head, payload: Buffer.from(payload) });
    };
    const append = (head: FrameHead, bytes: Buffer) => {
      if (this.shedding) return null;
      piped(head, bytes);
      return [];
    };
    const queue = { append, appendControl: piped, hasRoomFor: () => !this.shedding };
    const link = { retire: () => undefined, attached: true, queue } as unknown as RecorderClient;
    const identity = { connection: 1, origin: UNKNOWN_ORIGIN, account: this.#ledger.open(), resumes: true };
    this.#tap = new ConnectionTap(identity, link, this.#clock);
  }

  client(text: string): this {
    this.#bytes += text.length;
    this.#tap.client(Buffer.from(text, 'latin1'));
    return this.#deliver();
  }

  server(text: string): this {
    this.#bytes += text.length;
    this.#tap.server(Buffer.from(text, 'latin1'));
    return this.#deliver();
  }

  shed(pass: () => void): this {
    this.shedding = true;
    pass();
    this.shedding = false;
    return this;
  }

  /** Another one follows it. */
  recorderDies(): this {
    this.#recorder = null;
    this.#piped = [];
    this.#waiting = [];
    this.hanging = false;
    this.waiting = false;
    this.#tap.recorderGone(false);
    return this.#deliver();
  }

  get account(): CountersReading {
    return this.#ledger.read();
  }

  /** The recorded requests with their answers. */
  rows(): string[] {
    this.#tap.close('client_end');
    this.hanging = false;
    this.waiting = false;
    this.#deliver();
    expect(this.#ledger.read()).toMatchObject({
      seen: { bytes: this.#bytes },
      pending: { bytes: 0, turns: 0 },
    });
    return this.#exchanges.map(({ request, response }) => {
      const { method, target } = parseRequestHead(request?.head ?? new Uint8Array(0));
      expect(method).toMatch(/^(GET|POST)$/);
      return `${target} ${response === null ? '' : latin1(response.body.kept)}`;
    });
  }

  #deliver(): this {
    this.#clock.advance(1);
    if (this.hanging) return this;
    const frames = this.#piped;
    this.#piped = [];
    for (const frame of frames) {
      const message = frame.type === FRAME.message ? decodeMessage(frame.payload) : null;
      if (message?.kind === 'open') this.#recorder = this.#opened(message);
      else if (message !== null) this.#recorder?.hear(message, frame.atNs);
      else this.#recorder?.take(frame);
    }
    if (!this.waiting) this.#commit();
    expect(imbalance(this.#ledger.read())).toEqual({ bytes: 0, turns: 0 });
    return this;
  }

  #opened(start: ConnectionStart): FedConnection {
    const sink = { append: () => true, addProtocolUse: () => undefined } as unknown as CommittingSink;
    return new FedConnection(1, { sink, context: makeContext() }, start, (answer) => {
      this.#waiting.push(answer);
    });
  }

  #commit(): void {
    for (const { exchange, settlement } of this.#waiting.splice(0)) {
      if (exchange !== null) this.#exchanges.push(exchange);
      this.#tap.settled(settlement);
    }
  }
}
