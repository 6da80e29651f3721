import { expect } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { parseRequestHead } from '../../src/core/headers.ts';
import type { CommittingSink } from '../../src/core/ports.ts';
import { FedConnection } from '../../src/proxy/recorder/pipe-server.ts';
import { Counters } from '../../src/proxy/tap/counters.ts';
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
  shedding = false;

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
    this.#tap.client(Buffer.from(text, 'latin1'));
    return this.#deliver();
  }

  server(text: string): this {
    this.#tap.server(Buffer.from(text, 'latin1'));
    return this.#deliver();
  }

  shed(pass: () => void): this {
    this.shedding = true;
    pass();
    this.shedding = false;
    return this;
  }

  recorderDies(): this {
    this.#recorder = null;
    this.#tap.recorderGone(false);
    return this.#deliver();
  }

  /** The recorded requests with their answers. */
  rows(): string[] {
    this.#tap.close('client_end');
    this.#deliver();
    expect(this.#ledger.read().pending).toEqual({ bytes: 0, turns: 0 });
    return this.#exchanges.map(({ request, response }) => {
      const { target } = parseRequestHead(request?.head ?? new Uint8Array(0));
      return `${target} ${response === null ? '' : latin1(response.body.kept)}`;
    });
  }

  #deliver(): this {
    this.#clock.advance(1);
    const frames = this.#piped;
    this.#piped = [];
    for (const frame of frames) {
      const message = frame.type === FRAME.message ? decodeMessage(frame.payload) : null;
      if (message?.kind === 'open') this.#recorder = this.#opened(message);
      else if (message !== null) this.#recorder?.hear(message, frame.atNs);
      else this.#recorder?.take(frame);
    }
    expect(imbalance(this.#ledger.read())).toEqual({ bytes: 0, turns: 0 });
    return this;
  }

  #opened(start: ConnectionStart): FedConnection {
    const append = (exchange: Exchange) => this.#exchanges.push(exchange) > 0;
    const sink = { append, addProtocolUse: () => undefined } as unknown as CommittingSink;
    return new FedConnection(1, { sink, context: makeContext() }, start, ({ settlement }) =>
      this.#tap.settled(settlement),
    );
  }
}
