import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../../src/core/exchange.ts';
import { parseRequestHead } from '../../../src/core/headers.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import type { CommittingSink } from '../../../src/core/ports.ts';
import { type Answer, FedConnection } from '../../../src/proxy/recorder/pipe-server.ts';
import { Counters, type CountersReading } from '../../../src/proxy/tap/counters.ts';
import { QueueShare } from '../../../src/proxy/tap/frame-queue.ts';
import {
  type ConnectionStart,
  decodeMessage,
  FRAME,
  type Frame,
  type FrameHead,
  UNKNOWN_ORIGIN,
} from '../../../src/proxy/tap/frames.ts';
import { ConnectionTap, type RecorderClient } from '../../../src/proxy/tap/recorder-client.ts';
import { imbalance } from '../../support/imbalance.ts';
import { repeated } from '../../support/long-form.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { latin1, makeContext } from '../recorder/harness.ts';

/** One connection from its tap to its recorded rows. A test can make the pipe drop data and the recorder die. */
class TappedRecording {
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
    const queue = {
      append,
      appendControl: piped,
      takesFirst: () => !this.shedding,
      hasRoomFor: () => !this.shedding,
    };
    const link = { retire: () => undefined, attached: true, queue } as unknown as RecorderClient;
    const account = this.#ledger.open();
    const share = new QueueShare();
    const identity = { connection: 1, origin: UNKNOWN_ORIGIN, account, resumes: true, share };
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

const ask = (name: string, header = ''): string => `GET /${name} HTTP/1.1\r\nHost: m\r\n${header}\r\n`;
const PAD = `X-Pad: ${'y'.repeat(1_100)}\r\n`;
const post = (name: string, body: string, header = ''): string =>
  `POST /${name} HTTP/1.1\r\nHost: m\r\n${header}Content-Length: ${body.length}\r\n\r\n${body}`;
const answer = (name: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`;

describe('a client that has several requests under way as something is lost', () => {
  it('has no request recorded with the answer to the one before, once its recorder died', () => {
    const recording = new TappedRecording().client(ask('one') + ask('two')).recorderDies();
    recording.server(answer('one')).client(ask('three')).server(answer('two')).server(answer('three'));
    expect(recording.client(ask('four')).server(answer('four')).rows()).toEqual([]);
  });

  it('has none so recorded where both were shed, though a whole exchange was recorded before', () => {
    const recording = new TappedRecording().client(ask('zero')).server(answer('zero'));
    recording.shed(() => recording.client(ask('one') + ask('two')));
    recording.server(answer('one')).client(ask('three')).server(answer('two')).server(answer('three'));
    expect(recording.client(ask('four')).server(answer('four')).rows()).toEqual(['/zero zero']);
  });

  it('has none so recorded when it stays one ahead for the rest of the connection', () => {
    const recording = new TappedRecording();
    recording.shed(() => recording.client(ask('0')).client(ask('1')));
    for (let next = 2; next < 10; next += 1) recording.server(answer(`${next - 2}`)).client(ask(`${next}`));
    expect(recording.server(answer('8')).server(answer('9')).rows()).toEqual([]);
  });

  it('has none so recorded when it asks on while an answer is under way', () => {
    const recording = new TappedRecording();
    recording.shed(() => recording.client(ask('one')).server(answer('one').slice(0, 30)));
    recording.client(ask('two')).server(answer('one').slice(30));
    expect(recording.client(ask('three')).server(answer('two')).server(answer('three')).rows()).toEqual([]);
  });

  it('has none so recorded behind a large body, in one piece with it or not', () => {
    const large = 'POST /one HTTP/1.1\r\nContent-Length: 20000\r\n\r\n'.padEnd(20_045, 'x');
    expect(large.length).toBe(large.indexOf('x') + 20_000);
    for (const pieces of [1, 2, 5]) {
      const recording = new TappedRecording();
      recording.shed(() => {
        for (const piece of cut(large + ask('two'), pieces)) recording.client(piece);
      });
      recording.server(answer('one')).client(ask('three')).server(answer('two')).server(answer('three'));
      expect(recording.rows()).toEqual([]);
    }
  });

  it.each([
    ['compact JSON', post('one', '{"a":1}') + post('two', '{"a":2}')],
    ['JSON with blanks', post('one', '{"a": 1}') + post('two', '{"a": 2}')],
    ['large heads', post('one', '{"a":1}', PAD) + post('two', '{"a":2}', PAD)],
    ['a line in a body', post('one', `{"p":"${PAD}",\n"m":1}`) + post('two', '{"m":2}')],
    ['bare line feeds', `GET /one HTTP/1.1\nHost: m\n\n${ask('two')}`],
    ['line ends of both kinds', `GET /one HTTP/1.1\r\nHost: m\n\r\n${ask('two')}`],
    ['an empty line between', `${ask('one')}\r\n${ask('two')}`],
    ['chunks', `${ask('one', 'Transfer-Encoding: chunked\r\n')}1\r\nx\r\n0\r\n\r\n${ask('two')}`],
  ])('has none so recorded where %s are pipelined', (_, pipelined) => {
    const recording = new TappedRecording().client(pipelined).recorderDies();
    recording.server(answer('one')).client(ask('three')).server(answer('two')).server(answer('three'));
    expect(recording.client(ask('four')).server(answer('four')).rows()).toEqual([]);
  });

  it('has none so recorded where a body was refused before it came, and may come or not', () => {
    const asking = ask('one', 'Expect: 100-continue\r\nContent-Length: 36\r\n');
    const recording = new TappedRecording();
    recording.shed(() => recording.client(asking).server(answer('no')).client(ask('two').padEnd(36)));
    recording.client(ask('three')).server(answer('two')).server(answer('three'));
    expect(recording.rows()).toEqual([]);
  });

  it('has none so recorded where its recorder hung before it read the beginning, and died', () => {
    const recording = new TappedRecording();
    recording.hanging = true;
    recording
      .client(ask('one') + ask('two'))
      .server(answer('one'))
      .client(ask('three'))
      .recorderDies();
    for (let next = 4; next < 9; next += 1) recording.server(answer(`${next - 2}`)).client(ask(`${next}`));
    expect(recording.rows()).toEqual([]);
  });

  it('has none so recorded where a request line is cut anywhere', () => {
    const second = ask('two');
    for (let at = 1; at < second.length; at += 1) {
      for (const answered of ['', answer('one')]) {
        const recording = new TappedRecording().client(ask('one') + second.slice(0, at)).recorderDies();
        if (answered !== '') recording.server(answered);
        recording.client(second.slice(at));
        if (answered === '') recording.server(answer('one'));
        recording.client(ask('three')).server(answer('two')).client(ask('four')).server(answer('three'));
        const rows = recording.client(ask('five')).server(answer('four')).rows();
        expect(rows, `cut at ${at}`).toEqual([]);
      }
    }
  });

  it('has none so recorded where more are in one piece than a recorder holds open', () => {
    const count = LIMITS.pipelinedRequests + 200;
    const names = Array.from({ length: count }, (_, at) => `${at}`);
    const all = names.map((name) => ask(name)).join('');
    for (const pieces of [1, 2, 3]) {
      const recording = new TappedRecording();
      recording.shed(() => {
        for (const piece of cut(all, pieces)) recording.client(piece);
      });
      for (const name of names.slice(0, -1)) recording.server(answer(name));
      recording
        .client(ask('next'))
        .server(answer(`${count - 1}`))
        .server(answer('next'));
      expect(recording.client(ask('last')).server(answer('last')).rows()).toEqual([]);
    }
  });

  it('has none so recorded behind a body of more lines that look like requests, whatever is lost of it', () => {
    const lines = 'GET /a HTTP/1.1\r\n'.repeat(LIMITS.pipelinedRequests + 200);
    const both = post('one', lines) + ask('two');
    const at = fc.integer({ min: 1, max: both.length - 1 });
    fc.assert(
      fc.property(at, fc.boolean(), (cutAt, dies) => {
        const recording = new TappedRecording();
        if (dies) recording.client(both.slice(0, cutAt)).recorderDies().client(both.slice(cutAt));
        else recording.shed(() => recording.client(both.slice(0, cutAt)).client(both.slice(cutAt)));
        recording.server(answer('one')).client(ask('three')).server(answer('two')).server(answer('three'));
        expect(recording.client(ask('four')).server(answer('four')).rows()).toEqual([]);
      }),
      { numRuns: repeated(20, 500) },
    );
  });

  it('is recorded again after a body of more such lines, once that is committed', () => {
    const lines = 'GET /a HTTP/1.1\r\n'.repeat(LIMITS.pipelinedRequests + 200);
    const recording = new TappedRecording().client(post('one', lines)).server(answer('one'));
    recording.recorderDies().client(ask('two')).server(answer('two'));
    expect(recording.rows()).toEqual(['/one one', '/two two']);
  });

  it('is recorded again after all of it was answered and committed', () => {
    const recording = new TappedRecording().client(ask('one') + ask('two'));
    recording.server(answer('one') + answer('two')).recorderDies();
    expect(recording.client(ask('three')).server(answer('three')).rows()).toEqual([
      '/one one',
      '/two two',
      '/three three',
    ]);
  });

  it('has none so recorded, whatever is cut, shed, hangs or dies when, however deep it pipelines', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        fc.array(step, { maxLength: 120, size: 'max' }),
        (depth, early, steps) => {
          const play = new Play(depth, early);
          for (const taken of steps) play.take(taken);
          const rows = play.recording.rows();
          expectPairs(rows);
          // The rest of a request that was answered before its end is taken for another one.
          if (!early) play.expectCounted(rows.length);
        },
      ),
      { numRuns: repeated(300, 20_000) },
    );
  });
});

/** The last may be unanswered, or answered in part. */
function expectPairs(rows: readonly string[]): void {
  for (const row of rows) {
    const [target = '', said] = row.split(/ (.*)/, 2);
    expect(`answer ${target.slice(1)}`.startsWith(said ?? '')).toBe(true);
  }
}

type Step =
  | { readonly kind: 'ask'; readonly count: number }
  | { readonly kind: 'client' | 'server'; readonly bytes: number }
  | { readonly kind: 'shed' | 'hang' | 'wait' | 'carry' | 'death' };

const bytes = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 120 }), fc.constant(1e6));

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('ask' as const), count: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constantFrom('client' as const, 'server' as const), bytes }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('shed' as const, 'hang' as const, 'wait' as const) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('carry' as const, 'death' as const) }) },
);

/** A client that has up to `depth` requests under way, and a server that answers them in order. */
class Play {
  readonly recording = new TappedRecording();
  readonly #depth: number;
  readonly #early: boolean;
  #clientSays = '';
  #serverSays = '';
  /** How much of what the client says there must be for each of its requests to be answered. */
  readonly #asked: number[] = [];
  /** How much of what the server says there is when each of its answers is whole. */
  readonly #answers: number[] = [];
  /** Where each request begins, and where its first line ends. */
  readonly #begins: number[] = [];
  readonly #lines: number[] = [];
  #clientSaid = 0;
  #serverSaid = 0;

  /** @param early whether requests are answered as soon as their head is there */
  constructor(depth: number, early: boolean) {
    this.#depth = depth;
    this.#early = early;
  }

  take(taken: Step): void {
    const { recording } = this;
    if (taken.kind === 'shed') recording.shedding = true;
    else if (taken.kind === 'hang') recording.hanging = true;
    else if (taken.kind === 'wait') recording.waiting = true;
    else if (taken.kind === 'carry') {
      recording.shedding = false;
      recording.hanging = false;
      recording.waiting = false;
    } else if (taken.kind === 'death') recording.recorderDies();
    else if (taken.kind === 'ask') for (let more = 0; more < taken.count; more += 1) this.#ask();
    else if ('bytes' in taken) {
      if (taken.kind === 'client') this.#clientSpeaks(taken.bytes);
      else this.#serverSpeaks(taken.bytes);
    }
  }

  /** Each request is a row or counted. Of the last one nothing may have been said yet, or not its whole line. */
  expectCounted(rows: number): void {
    const { recorded, lost, omitted, seen } = this.recording.account;
    expect(recorded.turns).toBe(rows);
    const missed = [...Object.values(lost), ...Object.values(omitted)];
    const counted = missed.reduce((sum, { exchanges }) => sum + exchanges, rows);
    expect(counted).toBe(seen.turns);
    expect(counted).toBeGreaterThanOrEqual(this.#lines.filter((end) => end <= this.#clientSaid).length);
    const begun = this.#begins.filter((begin) => begin < this.#clientSaid).length;
    expect(counted).toBeLessThanOrEqual(begun);
  }

  get asked(): number {
    return this.#asked.length;
  }

  /** Everything that was asked is answered; then something is asked and answered, in one piece each. */
  askOnce(): void {
    this.#clientSpeaks(1e6);
    this.#serverSpeaks(1e6);
    this.#ask();
    this.#clientSpeaks(1e6);
    this.#serverSpeaks(1e6);
  }

  #ask(): void {
    const answered = this.#answers.filter((end) => end <= this.#serverSaid).length;
    const number = this.#asked.length;
    if (number - answered >= this.#depth) return;
    // Small and large ones, ones that say what a request line ends in, and one whose line looks like a field.
    const bodies = ['HTTP/1.1'.padEnd(8_000, '.'), 'HTTP/1.1', '{"a": 1}', ' HTTP/1.1', ''];
    const body = bodies[number % bodies.length] ?? '';
    const length = `Content-Length: ${body.length}`;
    this.#begins.push(this.#clientSays.length);
    this.#clientSays += `POST /${number} HTTP/1.1\r\n`;
    this.#lines.push(this.#clientSays.length);
    this.#clientSays += `Via: HTTP/1.1 p\r\n${length}\r\n\r\n`;
    const headEnd = this.#clientSays.length;
    this.#clientSays += body;
    this.#asked.push(this.#early ? headEnd : this.#clientSays.length);
  }

  #clientSpeaks(bytes: number): void {
    const piece = this.#clientSays.slice(this.#clientSaid, this.#clientSaid + bytes);
    if (piece === '') return;
    this.#clientSaid += piece.length;
    this.recording.client(piece);
  }

  #serverSpeaks(bytes: number): void {
    const asked = this.#asked.filter((end) => end <= this.#clientSaid).length;
    for (let number = this.#answers.length; number < asked; number += 1) {
      const interim = number % 3 === 0 ? 'HTTP/1.1 102 Processing\r\n\r\n' : '';
      this.#serverSays += interim + answer(`answer ${number}`);
      this.#answers.push(this.#serverSays.length);
    }
    const piece = this.#serverSays.slice(this.#serverSaid, this.#serverSaid + bytes);
    if (piece === '') return;
    this.#serverSaid += piece.length;
    this.recording.server(piece);
  }
}

function cut(text: string, pieces: number): string[] {
  const length = Math.ceil(text.length / pieces);
  return Array.from({ length: pieces }, (_, index) => text.slice(index * length, (index + 1) * length));
}

describe('a client that asks for one thing after the other', () => {
  const lost = (recording: TappedRecording): void => {
    recording.shed(() => recording.client(ask('lost'))).server(answer('lost'));
  };

  it('is recorded from the next turn on, after every loss', () => {
    const recording = new TappedRecording();
    lost(recording);
    recording.client(ask('one')).server(answer('one')).client(ask('two')).recorderDies();
    recording.server(answer('two')).client(ask('three')).server(answer('three'));
    lost(recording);
    expect(recording.client(ask('four')).server(answer('four')).rows()).toEqual([
      '/one one',
      '/three three',
      '/four four',
    ]);
  });

  it('is recorded from there on after any loss, whatever was cut, shed, hung or died before', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const play = new Play(1, false);
        for (const taken of steps) play.take(taken);
        play.take({ kind: 'carry' });
        play.askOnce();
        play.askOnce();
        const rows = play.recording.rows();
        expectPairs(rows);
        expect(rows.at(-1)?.replace(/^.*answer /, '')).toBe(`${play.asked - 1}`);
      }),
      { numRuns: repeated(100, 5_000) },
    );
  });

  it('is not recorded any more where a body that was lost looks like requests', () => {
    const recording = new TappedRecording();
    const body = 'GET /a HTTP/1.1\r\n';
    recording.shed(() => recording.client(post('lost', body)).server(answer('lost')));
    expect(recording.client(ask('one')).server(answer('one')).rows()).toEqual([]);
  });

  it('is recorded again after a body that looks like requests, once that is committed', () => {
    const recording = new TappedRecording().client(post('one', 'GET /a HTTP/1.1\r\n')).server(answer('one'));
    recording.recorderDies().client(ask('two')).server(answer('two'));
    expect(recording.rows()).toEqual(['/one one', '/two two']);
  });

  it('is, whatever its exchanges have of what could look like a request', () => {
    const body = 'we speak HTTP/1.1, and\nGET it: "GET / HTTP/1.1\\r\\n"';
    const post = `POST /lost HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`;
    const interim = 'HTTP/1.1 100 Continue\r\n\r\n';
    const lines = 'we speak HTTP/1.1 \r\n'.repeat(600);
    const large = `POST /lost HTTP/1.1\r\ncontent-length: ${lines.length}\r\n\r\n${lines}`;
    const before: ((recording: TappedRecording) => TappedRecording)[] = [
      (it) => it.client(post).server(interim).client(body).server(answer('lost')),
      (it) => it.client(post + body).server(interim + answer('lost')),
      (it) =>
        it
          .client(post + body)
          .server(interim)
          .server(answer('lost')),
      (it) => it.client(post).client(body.slice(0, 15)).client(body.slice(15)).server(answer('lost')),
      (it) => it.client(ask('lost', 'Via: HTTP/1.1 proxy\r\nX-Proto: HTTP/1.1\r\n')).server(answer('lost')),
      (it) => it.client(ask('lost').slice(0, 14)).client(ask('lost').slice(14)).server(answer('lost')),
      (it) => it.client(ask('lost')).server(answer('lost').slice(0, 20)).server(answer('lost').slice(20)),
      // Its body is as long as its head says, and holds what it likes.
      (it) => it.client(large).server(answer('lost')),
      (it) => it.client(large.slice(0, 46)).client(large.slice(46)).server(answer('lost')),
      (it) => it.client(large.slice(0, 5_000)).client(large.slice(5_000)).server(answer('lost')),
      // An answer that is cut anywhere, and an interim one before it.
      (it) => it.client(ask('lost')).server('H').server('TTP/1').server('.1').server(answer('lost').slice(8)),
      (it) =>
        it
          .client(ask('lost'))
          .server('HTTP/1.1 103 Early Hints\r\nLink: </a>')
          .server('\r\n\r\nHTTP/1.1 ')
          .server(answer('lost').slice(9)),
      // Each of its bytes alone.
      (it) => [...ask('lost')].reduce((each, byte) => each.client(byte), it).server(answer('lost')),
    ];
    for (const pass of before) {
      const recording = new TappedRecording();
      recording.shed(() => pass(recording));
      expect(
        recording
          .client(ask('one'))
          .server(answer('one'))
          .client(ask('two'))
          .server(answer('two'))
          .rows()
          .at(-1),
      ).toBe('/two two');
    }
  });
});
