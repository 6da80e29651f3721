import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { SeededRandom } from '../../src/core/random.ts';

/** Flags of a recording that must redact every planted secret. */
export const LEAK_FLAGS: readonly string[] = [
  ...['--bodies', 'all,max-request=64KiB'],
  ...['--redact-preset', 'chat', '--redact-preset', 'v1', '--redact-preset', 'v2'],
  ...['--redact', '/patient/name=mask', '--redact', '/patient/id=hash', '--redact', '/patient/notes=drop'],
  ...['--redact', '/deep/*/*/secret=mask', '--redact', '/encoded=mask'],
  ...['--redact', 'header:x-tenant-note', '--redact', 'query:ticket'],
];

/** The values of a repeatable flag. */
export function flagValues(flag: string): string[] {
  return LEAK_FLAGS.filter((_, index) => LEAK_FLAGS[index - 1] === flag);
}

/** The traffic of one connection: what the client sends, in pieces, and the answer. */
export interface PlantedExchange {
  readonly kind: string;
  readonly secrets: readonly string[];
  readonly request: readonly Buffer[];
  readonly answer: Buffer;
  /** Whether the client leaves after its last piece, without waiting. */
  readonly leaves: boolean;
}

type Maker = (secret: string, nth: number) => Partial<PlantedExchange>;

const CRLF = '\r\n';
const NEVER_SECRET = '"note":"in-the-open"';
const OK = response([], '{"ok":true}');

const HEADERS = [
  'Authorization: Bearer ',
  'X-Api-Key: ',
  'Proxy-Authorization: Basic ',
  'X-Auth-Token:',
  'api-key:\t',
];
const CODINGS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, zstd: zstdCompressSync };

/** The number of exchanges of each kind: 200 in total. */
const KINDS: Readonly<Record<string, readonly [number, Maker]>> = {
  header: [20, (secret, nth) => post([`${HEADERS[nth % HEADERS.length]}${secret}`], json('{}'))],
  'added header': [8, (secret) => post([`X-Tenant-Note: ${secret}`], json('{}'))],
  query: [16, (secret, nth) => get(queried(secret, nth))],
  'added query key': [8, (secret) => get(`/p?ticket=${secret}`)],
  'user info': [8, (secret, nth) => get(withUserInfo(secret, nth))],
  'URL in a header': [8, (secret) => get('/p', [`Referer: http://h/x?token=${secret}`])],
  'nested JSON': [24, (secret, nth) => post([], json(nested(secret, nth)))],
  'base64 in JSON': [10, (secret) => post([], json(`{"encoded":"${base64(secret)}"}`))],
  'base64 in a header': [
    6,
    (secret) => post([`Authorization: Basic ${base64(`user:${secret}`)}`], json('{}')),
  ],
  'coded JSON': [16, (secret, nth) => codedPost(secret, nth)],
  'chunked JSON': [16, (secret, nth) => chunkedPost(nested(secret, nth), 1 + (nth % 7))],
  trailer: [8, (secret) => chunkedPost('{}', 9, `X-Api-Key: ${secret}${CRLF}`)],
  subprotocol: [
    6,
    (secret) =>
      get('/ws', ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Protocol: bearer, ${secret}`]),
  ],
  cookie: [8, (secret) => get('/p', [`Cookie: a=b; session=${secret}`])],
  'set-cookie': [
    6,
    (secret) => ({ ...get('/p'), answer: response([`Set-Cookie: sid=${secret}; HttpOnly`], '{}') }),
  ],
  form: [8, (secret, nth) => formPost(`a=1&${fieldWith(secret, nth)}`)],
  'JSON answer': [
    6,
    (secret) => ({ ...get('/p'), answer: response([], `{"choices":[{"message":{"content":"${secret}"}}]}`) }),
  ],
  'streamed answer': [6, (secret) => ({ ...get('/p'), answer: streamed(secret) })],
  'over the cap': [3, (secret) => post([], json(`{"prompt":"${secret}${' x'.repeat(40_000)}"}`))],
  'broken JSON': [3, (secret) => post([], json(`{"prompt":"${secret}"`))],
  'unknown type': [3, (secret) => post(['Content-Type: text/plain'], Buffer.from(`the ${secret} is out`))],
  'left halfway': [3, (secret) => ({ ...post([], json(`{"prompt":"${secret}"}`), 100), leaves: true })],
};

/** The secrets and the traffic that carries them, the same for the same seed. */
export function plantedExchanges(seed: number): PlantedExchange[] {
  const random = new SeededRandom(seed);
  return Object.entries(KINDS).flatMap(([kind, [count, make]]) =>
    Array.from({ length: count }, (_, nth) => {
      const secret = `Zq${hex(random)}${hex(random)}${hex(random)}`;
      return { kind, secrets: [secret], request: [], answer: OK, leaves: false, ...make(secret, nth) };
    }),
  );
}

/** The forms that a secret could have in a file besides its plain text. */
export function variantsOf(secret: string): Buffer[] {
  const bytes = Buffer.from(secret);
  // The base64 of a text within a longer one depends on its offset; its first and last characters on the text around.
  const base64s = [0, 1, 2].map((shift) => {
    const coded = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    return coded.slice(shift === 0 ? 0 : shift + 1, -1);
  });
  const percent = [...bytes].map((byte) => `%${byte.toString(16)}`).join('');
  const escaped = [...bytes].map((byte) => `\\u00${byte.toString(16)}`).join('');
  const texts = [secret, ...base64s, bytes.toString('hex'), percent, escaped];
  const cased = texts.flatMap((text) => [text, text.toLowerCase(), text.toUpperCase()]);
  return [...[...new Set(cased)].map((text) => Buffer.from(text)), Buffer.from(secret, 'utf16le')];
}

function queried(secret: string, nth: number): string {
  const places = [
    `/p?a=1&access_token=${secret}&b=2`,
    `/p?a=1&api%5Fkey=${secret}&b=2`,
    `/p?password=ab>${secret}`,
    `/v1/doc;token=${secret}/read`,
    `/v2/models/m&api_key=${secret}/infer`,
  ];
  return places[nth % places.length] as string;
}

function withUserInfo(secret: string, nth: number): string {
  const url = `http://user:${secret}@model.internal/p`;
  const places = [
    url,
    `/p?image_url=${url}`,
    `/p?url=${encodeURIComponent(url)}`,
    `/p/${encodeURIComponent(url)}`,
  ];
  return places[nth % places.length] as string;
}

function fieldWith(secret: string, nth: number): string {
  const places = [
    `password=${secret}`,
    `prompt=${secret}`,
    `callback=https://h/cb?token=${secret}`,
    `image_url=https://user:${secret}@h/a.png`,
  ];
  return places[nth % places.length] as string;
}

function nested(secret: string, nth: number): string {
  const places = [
    `{"patient":{"name":"Ms ${secret}"},${NEVER_SECRET}}`,
    `{${NEVER_SECRET},"patient":{"id":"${secret}","notes":["${secret}",{"x":"${secret}"}]}}`,
    `{"deep":[[{"secret":{"a":["${secret}"]}}],[{"secret":"\\u0020${secret}"}]],${NEVER_SECRET}}`,
    `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"${secret}"}]}]}`,
    `{"instances":[{"text":"${secret}"},["${secret}"]]}`,
    `{"inputs":[{"name":"t","datatype":"BYTES","data":["${secret}"]}]}`,
  ];
  return places[nth % places.length] as string;
}

function json(text: string): Buffer {
  return Buffer.from(text);
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function hex(random: SeededRandom): string {
  return random.nextUint32().toString(16).padStart(8, '0');
}

function head(line: string, headers: readonly string[]): Buffer {
  return Buffer.from(
    [line, 'Host: model.internal', 'X-Plain: in-the-open', ...headers, '', ''].join(CRLF),
    'latin1',
  );
}

function get(target: string, headers: readonly string[] = []): Partial<PlantedExchange> {
  return { request: [head(`GET ${target} HTTP/1.1`, headers)] };
}

/** @param missing bytes that are announced but never sent */
function post(headers: readonly string[], body: Buffer, missing = 0): Partial<PlantedExchange> {
  const typed = headers.some((line) => /^content-type:/i.test(line))
    ? []
    : ['Content-Type: application/json'];
  const lines = [...headers, ...typed, `Content-Length: ${body.length + missing}`];
  return { request: [head('POST /v1/chat/completions HTTP/1.1', lines), body] };
}

function formPost(body: string): Partial<PlantedExchange> {
  return post(['Content-Type: application/x-www-form-urlencoded'], Buffer.from(body));
}

function codedPost(secret: string, nth: number): Partial<PlantedExchange> {
  const names = Object.keys(CODINGS) as (keyof typeof CODINGS)[];
  const name = names[nth % names.length] as keyof typeof CODINGS;
  return post([`Content-Encoding: ${name}`], CODINGS[name](nested(secret, nth)));
}

/** Each chunk is sent separately, so that a secret comes in many pieces. */
function chunkedPost(body: string, chunkBytes: number, trailers = ''): Partial<PlantedExchange> {
  const lines = ['Content-Type: application/json', 'Transfer-Encoding: chunked'];
  const pieces = body.match(new RegExp(`.{1,${chunkBytes}}`, 'gs')) ?? [];
  const chunks = pieces.map((piece) => Buffer.from(`${piece.length.toString(16)}${CRLF}${piece}${CRLF}`));
  const request = [head('POST /v1/chat/completions HTTP/1.1', lines), ...chunks];
  return { request: [...request, Buffer.from(`0${CRLF}${trailers}${CRLF}`)] };
}

function response(headers: readonly string[], body: string, type = 'application/json'): Buffer {
  const lines = ['HTTP/1.1 200 OK', `Content-Type: ${type}`, `Content-Length: ${body.length}`, ...headers];
  return Buffer.from([...lines, 'Connection: close', '', body].join(CRLF), 'latin1');
}

function streamed(secret: string): Buffer {
  const events = [secret.slice(0, 9), secret.slice(9), secret].map(
    (text) => `data: {"choices":[{"delta":{"content":"${text}"}}]}\n\n`,
  );
  return response([], `${events.join('')}data: [DONE]\n\n`, 'text/event-stream');
}
