import type { SeededRandom } from '../../src/core/random.ts';

/** The parts of a message for the wire. */
export interface Parts {
  readonly line: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
  readonly trailers: readonly string[];
}

export interface GeneratedExchange {
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
export function generateExchange(id: number, random: SeededRandom): GeneratedExchange {
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
export function bytesOf({ line, headers, body, trailers }: Parts): { head: Buffer; body: Buffer } {
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

export function isChunked(headers: readonly string[]): boolean {
  return headers.some((header) => /^transfer-encoding:/i.test(header));
}

/** The first complete message of received bytes; null if it is incomplete. `untilClose` waits for the end. */
export function takeMessage(
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
