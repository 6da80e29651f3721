import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { repeated } from '../../support/long-form.ts';
import { TappedRecording } from '../../support/tapped-recording.ts';

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

  it('has none so recorded once it was seen to pipeline, whatever is cut, shed or dies when', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 4 }),
        fc.array(step, { maxLength: 80, size: 'max' }),
        (depth, steps) => {
          const play = new Play(depth);
          play.take({ kind: 'ask', count: 2, pieces: 1 });
          for (const taken of steps) play.take(taken);
          for (const row of play.recording.rows()) {
            // The last may be unanswered, or answered in part.
            const [target = '', said] = row.split(/ (.*)/, 2);
            expect(`answer ${target.slice(1)}`.startsWith(said ?? '')).toBe(true);
          }
        },
      ),
      { numRuns: repeated(50, 200) },
    );
  });
});

type Step =
  | { readonly kind: 'ask'; readonly count: number; readonly pieces: number }
  | { readonly kind: 'server'; readonly pieces: number; readonly interim: boolean }
  | { readonly kind: 'client' | 'shed' | 'carry' | 'death' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      count: fc.integer({ min: 1, max: 3 }),
      pieces: fc.constantFrom(1, 1, 1, 2, 3),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('client' as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('server' as const),
      pieces: fc.constantFrom(1, 1, 1, 2, 3),
      interim: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('shed' as const, 'carry' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('death' as const) }) },
);

/** A client that has up to `depth` requests under way, and a server that answers them in order. */
class Play {
  readonly recording = new TappedRecording();
  readonly #depth: number;
  readonly #clientSays: { readonly text: string; readonly asked: number }[] = [];
  readonly #serverSays: { readonly text: string; readonly answered: boolean }[] = [];
  #written = 0;
  #asked = 0;
  #answering = 0;
  #answered = 0;

  constructor(depth: number) {
    this.#depth = depth;
  }

  take(taken: Step): void {
    if (taken.kind === 'shed' || taken.kind === 'carry') this.recording.shedding = taken.kind === 'shed';
    else if (taken.kind === 'death') this.recording.recorderDies();
    else if (taken.kind === 'ask') this.#write(taken.count, taken.pieces);
    else if (taken.kind === 'server') this.#serverSpeaks(taken.pieces, taken.interim);
    else this.#clientSpeaks();
  }

  #write(count: number, pieces: number): void {
    const room = Math.min(count, this.#depth - (this.#written - this.#answered));
    if (room <= 0) return;
    let text = '';
    for (let written = 0; written < room; written += 1, this.#written += 1) {
      // Small and large ones, ones that say what a request line ends in, and one whose line looks like a field.
      const body = ['HTTP/1.1'.padEnd(8_000, '.'), 'HTTP/1.1', '{"a": 1}'][this.#written % 3] ?? '';
      const length = `Content-Length: ${body.length}`;
      text += `POST /${this.#written} HTTP/1.1\r\nVia: HTTP/1.1 p\r\n${length}\r\n\r\n${body}`;
    }
    for (const piece of cut(text, pieces)) this.#clientSays.push({ text: piece, asked: 0 });
    this.#clientSays.push({ text: this.#clientSays.pop()?.text ?? '', asked: room });
    this.#clientSpeaks();
  }

  #clientSpeaks(): void {
    const next = this.#clientSays.shift();
    if (next === undefined) return;
    this.recording.client(next.text);
    this.#asked += next.asked;
  }

  #serverSpeaks(pieces: number, interim: boolean): void {
    if (this.#serverSays.length === 0 && this.#answering < this.#asked) {
      const text = (interim ? 'HTTP/1.1 102 Processing\r\n\r\n' : '') + answer(`answer ${this.#answering}`);
      for (const piece of cut(text, pieces)) this.#serverSays.push({ text: piece, answered: false });
      this.#serverSays.push({ text: this.#serverSays.pop()?.text ?? '', answered: true });
      this.#answering += 1;
    }
    const next = this.#serverSays.shift();
    if (next === undefined) return;
    this.recording.server(next.text);
    if (next.answered) this.#answered += 1;
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

  it('is not recorded any more where a body that was lost looks like requests', () => {
    const recording = new TappedRecording();
    const body = 'GET /a HTTP/1.1\r\n';
    recording.shed(() => recording.client(post('lost', body)).server(answer('lost')));
    expect(recording.client(ask('one')).server(answer('one')).rows()).toEqual([]);
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
