import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { untilStatus } from '../support/control.ts';
import { repeated } from '../support/long-form.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { expectUnharmed } from './attacked-recording.ts';

/** The parts of a message for the wire. */
interface Parts {
  readonly line: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
  readonly trailers: readonly string[];
}

interface GeneratedExchange {
  readonly id: number;
  readonly request: Parts;
  readonly answer: Parts;
  /** The answer has no body, even if its head states one (HEAD, 204, 304). */
  readonly bodyless: boolean;
  /** The end of the connection ends the answer. */
  readonly untilClose: boolean;
}

const METHODS = ['GET', 'POST', 'POST', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'PROPFIND'];
const STATUSES = [
  '200 OK',
  '200 ',
  '201 Made',
  '204 No Content',
  '304 Not Modified',
  '404 Not Found',
  '429 Slow',
  '500 Oh',
];
const PATHS = [
  '/v1/chat/completions',
  '/v2/models/a/infer',
  '/a//b',
  '/a/../b',
  '/%7Euser',
  '/x;y=1',
  '/q?a=1&b=%20',
  '/{x}?"',
  '/a\\b',
  '//',
];
const NAMES = [
  'X-Trace',
  'x-lower',
  'ACCEPT',
  'Cookie',
  'cookie',
  'Authorization',
  'User-Agent',
  'X-Empty',
  'Via',
];
const VALUES = [
  '',
  'a',
  'a, b',
  'w/"q"',
  'a=1; b=2',
  'text/plain;q=0.5',
  'caf\u00e9',
  'x'.repeat(300),
  '\u00ff\u00fe',
];
const SIZES = [0, 1, 5, 100, 2_000, 2_000, 10_000, 70_000];
const LARGE_EVERY = 200;
const LARGE_BYTES = 5 * 1024 * 1024;

/** A random valid HTTP/1.1 exchange, the same for the same number and seed. */
function generateExchange(id: number, random: SeededRandom): GeneratedExchange {
  const pick = <Item>(items: readonly Item[]): Item => items[random.below(items.length)] as Item;
  const some = () =>
    Array.from({ length: random.below(6) }, () => `${pick(NAMES)}: ${pick(VALUES)}`.trimEnd());
  const bytes = (size: number) => Buffer.alloc(size, `${id}\u0000\r\n${random.below(1_000_000)}`, 'latin1');
  const size = (salt: number) => ((id + salt) % LARGE_EVERY === 7 ? LARGE_BYTES : pick(SIZES));
  const method = pick(METHODS);
  const status = pick(STATUSES);
  const bodyless = method === 'HEAD' || /^(204|304)/.test(status);
  const requestBody =
    method === 'GET' || method === 'HEAD' ? pick([Buffer.alloc(0), bytes(10)]) : bytes(size(0));
  const request = message(
    `${method} ${pick(PATHS)} HTTP/1.1`,
    ['Host: model.example:8000', `X-Id: ${id}`, ...some()],
    requestBody,
    pick,
    false,
  );
  const untilClose = !bodyless && random.below(12) === 0;
  const head = [
    `X-Id: ${id}`,
    ...some(),
    ...(random.below(2) === 0 ? ['Date: Tue, 24 Nov 2026 00:00:00 GMT'] : []),
  ];
  const answer =
    bodyless || untilClose
      ? {
          line: `HTTP/1.1 ${status}`,
          headers: untilClose ? [...head, 'Connection: close'] : head,
          body: bodyless ? Buffer.alloc(0) : bytes(size(3)),
          trailers: [],
        }
      : message(`HTTP/1.1 ${status}`, head, bytes(size(3)), pick, true);
  return { id, request, answer, bodyless, untilClose };
}

function message(
  line: string,
  headers: readonly string[],
  body: Buffer,
  pick: <Item>(items: readonly Item[]) => Item,
  isAnswer: boolean,
): Parts {
  const framing = pick([
    'length',
    'length',
    'chunked',
    'trailers',
    body.length === 0 && !isAnswer ? 'none' : 'length',
  ]);
  if (framing === 'none') return { line, headers, body, trailers: [] };
  const expects = !isAnswer && body.length > 0 && pick([0, 0, 0, 1]) === 1 ? ['Expect: 100-continue'] : [];
  if (framing === 'length')
    return { line, headers: [...headers, `content-LENGTH: ${body.length}`, ...expects], body, trailers: [] };
  const trailers = framing === 'trailers' ? ['X-Sum: 1', 'x-sum: 2'] : [];
  return { line, headers: [...headers, 'Transfer-Encoding: chunked', ...expects], body, trailers };
}

/** The bytes of a message: the head, and the body with the framing of the head. */
function bytesOf({ line, headers, body, trailers }: Parts): { head: Buffer; body: Buffer } {
  const head = Buffer.from(`${[line, ...headers].join('\r\n')}\r\n\r\n`, 'latin1');
  if (!isChunked(headers)) return { head, body };
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; at += 30_000) {
    const piece = body.subarray(at, at + 30_000);
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
  }
  const end = ['0', ...trailers].join('\r\n');
  return { head, body: Buffer.concat([...pieces, Buffer.from(`${end}\r\n\r\n`)]) };
}

function isChunked(headers: readonly string[]): boolean {
  return headers.some((header) => /^transfer-encoding:/i.test(header));
}

/** The first complete message of received bytes; null if it is incomplete. `untilClose` waits for the end. */
function takeMessage(
  bytes: Buffer,
  as: { bodyless: boolean; ended: boolean },
): { parts: Parts; bytes: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n') + 4;
  if (headEnd < 4) return null;
  const [line = '', ...headers] = bytes.toString('latin1', 0, headEnd - 4).split('\r\n');
  const whole = (body: Buffer, end: number, trailers: string[] = []) => ({
    parts: { line, headers, body, trailers },
    bytes: end,
  });
  if (as.bodyless) return whole(Buffer.alloc(0), headEnd);
  if (isChunked(headers)) return takeChunks(bytes, headEnd, whole);
  const length = headers
    .map((header) => /^content-length: *(\d+)$/i.exec(header)?.[1])
    .find((value) => value !== undefined);
  if (length === undefined && line.startsWith('HTTP/'))
    return as.ended ? whole(bytes.subarray(headEnd), bytes.length) : null;
  const end = headEnd + Number(length ?? 0);
  return bytes.length < end ? null : whole(bytes.subarray(headEnd, end), end);
}

function takeChunks<Whole>(
  bytes: Buffer,
  from: number,
  whole: (body: Buffer, end: number, trailers: string[]) => Whole,
): Whole | null {
  const pieces: Buffer[] = [];
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (size === 0) {
      const end = bytes.indexOf('\r\n\r\n', lineEnd);
      if (end < 0) return null;
      const trailers = end === lineEnd ? [] : bytes.toString('latin1', lineEnd + 2, end).split('\r\n');
      return whole(Buffer.concat(pieces), end + 4, trailers);
    }
    if (bytes.length < lineEnd + 4 + size) return null;
    pieces.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 4 + size;
  }
}

const COUNT = repeated(500, 2_000);
const PARALLEL = 8;
/** Exchanges sent between two looks at the queue, and how short that is then. */
const PAUSE_EVERY = 50;
const SHORT_QUEUE_BYTES = 4 * 1024 * 1024;
const COMMON = ['--probe-listen', 'off', '--drain-delay', '0s', '--skip', 'none'];

/** What belongs to one hop: the list of docs/guides/gateway.md. */
const HOP = /^(connection|keep-alive|proxy-connection|expect|upgrade):/i;

const random = new SeededRandom(1_230);
const exchanges = Array.from({ length: COUNT }, (_, id) => generateExchange(id, random));
const seen = new Map<number, Parts>();

const sockets = new Set<Socket>();
const upstream = createServer({ noDelay: true }, serve).listen(0, '127.0.0.1');
await once(upstream, 'listening');
const upstreamPort = (upstream.address() as AddressInfo).port;
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  upstream.close();
});

function idOf(parts: Parts): number {
  return Number(parts.headers.find((header) => header.startsWith('X-Id: '))?.slice(6));
}

function expects(bytes: Buffer): boolean {
  const headEnd = bytes.indexOf('\r\n\r\n');
  return headEnd > 0 && /\r\nexpect: 100-continue/i.test(bytes.toString('latin1', 0, headEnd));
}

/** Answers each request with the answer that was made up for it, and keeps what it was asked. */
function serve(socket: Socket): void {
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.on('close', () => sockets.delete(socket));
  const pieces: Buffer[] = [];
  let asked = false;
  socket.on('data', (chunk: Buffer) => {
    pieces.push(chunk);
    let rest = Buffer.concat(pieces);
    if (!asked && expects(rest)) {
      asked = true;
      socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    }
    for (
      let taken = takeMessage(rest, { bodyless: false, ended: false });
      taken;
      taken = takeMessage(rest, { bodyless: false, ended: false })
    ) {
      rest = rest.subarray(taken.bytes);
      asked = false;
      const id = idOf(taken.parts);
      seen.set(id, taken.parts);
      const { answer, untilClose } = exchanges[id] as GeneratedExchange;
      const { head, body } = bytesOf(answer);
      socket.write(Buffer.concat([head, body]));
      if (untilClose) socket.end();
    }
    pieces.splice(0, pieces.length, rest);
  });
}

/** A client's connection that lasts as long as it may. */
class Line {
  readonly #port: number;
  #socket: Socket | null = null;
  #received: Buffer[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(port: number) {
    this.#port = port;
  }

  async ask({ request, bodyless }: GeneratedExchange): Promise<Parts> {
    const socket = this.#socket ?? this.#connect();
    const { head, body } = bytesOf(request);
    socket.write(head);
    if (request.headers.includes('Expect: 100-continue')) {
      const interim = await this.#take(true);
      expect(interim.line).toBe('HTTP/1.1 100 Continue');
    }
    socket.write(body);
    const answer = await this.#take(bodyless);
    if (answer.headers.some((header) => /^connection: close/i.test(header)) || this.#ended) this.close();
    return answer;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  #connect(): Socket {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    this.#received = [];
    this.#ended = false;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#wake();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
    return socket;
  }

  async #take(bodyless: boolean): Promise<Parts> {
    for (;;) {
      const bytes = Buffer.concat(this.#received);
      const taken = takeMessage(bytes, { bodyless, ended: this.#ended });
      if (taken) {
        this.#received = [bytes.subarray(taken.bytes)];
        return taken.parts;
      }
      if (this.#ended) throw new Error(`ended within ${JSON.stringify(bytes.toString('latin1', 0, 200))}`);
      this.#received = [bytes];
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/**
 * Sends everything to a port and says what came out at both ends. What is recorded waits now and then until the queue
 * is short again: loopback moves more than a recorder keeps where both compete for one processor, and then it sheds.
 */
async function play(
  port: number,
  directory: string | null,
): Promise<{ requests: Parts[]; answers: Parts[] }> {
  seen.clear();
  const answers: Parts[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      const line = new Line(port);
      while (next < COUNT) {
        if (directory !== null && next % PAUSE_EVERY === 0)
          await untilStatus(directory, ({ queuedBytes }) => queuedBytes < SHORT_QUEUE_BYTES);
        // Meanwhile others may have taken the last.
        const exchange = exchanges[next++];
        if (exchange === undefined) break;
        answers[exchange.id] = await line.ask(exchange);
      }
      line.close();
    }),
  );
  return { requests: exchanges.map(({ id }) => seen.get(id) as Parts), answers };
}

/** What must be the same, with bodies by their bytes. */
function comparable({ line, headers, body, trailers }: Parts, drop: RegExp): unknown {
  return {
    line,
    headers: headers.filter((header) => !drop.test(header)).map(drop === NOTHING ? asItIs : plain),
    body: body.toString('latin1'),
    trailers,
  };
}

const NOTHING = /^$/;
const asItIs = (header: string): string => header;
/** White space around a value is the gateway's own. */
const plain = (header: string): string => header.replace(/:[ \t]*(.*?)[ \t]*$/, ': $1');

describe(`${COUNT} exchanges of every kind`, () => {
  it('reach the other side as they were sent when nothing is in between', { timeout: 300_000 }, async () => {
    const direct = await play(upstreamPort, null);
    for (const { id, request, answer } of exchanges) {
      expect(comparable(direct.requests[id] as Parts, NOTHING)).toEqual(comparable(request, NOTHING));
      expect(comparable(direct.answers[id] as Parts, NOTHING)).toEqual(comparable(answer, NOTHING));
    }
  });

  it('pass the wire with every byte of them', { timeout: 300_000 }, async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(upstreamPort, directory, COMMON);
    const { requests, answers } = await play(recording.port, directory);
    for (const { id, request, answer } of exchanges) {
      expect(comparable(requests[id] as Parts, NOTHING)).toEqual(comparable(request, NOTHING));
      expect(comparable(answers[id] as Parts, NOTHING)).toEqual(comparable(answer, NOTHING));
    }
    expect((await expectUnharmed(recording)).exchanges).toBe(COUNT);
  });

  it('pass the gateway with all but what belongs to one hop', { timeout: 300_000 }, async () => {
    const flags = [...COMMON, '--mode', 'gateway'];
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(upstreamPort, directory, flags);
    const { requests, answers } = await play(recording.port, directory);
    for (const { id, request, answer, untilClose } of exchanges) {
      expect(comparable(requests[id] as Parts, HOP)).toEqual(comparable(request, HOP));
      // A body of unknown length comes in chunks.
      const drop = untilClose ? /^(connection|keep-alive|transfer-encoding):/i : HOP;
      expect(comparable(answers[id] as Parts, drop)).toEqual(comparable(answer, drop));
    }
    expect((await expectUnharmed(recording)).exchanges).toBe(COUNT);
  });
});
