import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { fixtureData, sharedData } from './shared-data.ts';

/** A request as on the wire, and its answer in the chunks that the server writes. */
export interface WireExchange {
  readonly name: string;
  readonly request: Buffer;
  readonly answer: readonly Buffer[];
}

const CRLF = '\r\n';

/** A raw request message. `headers` are inserted unchanged between Host and the framing. */
export function rawRequest(method: string, path: string, headers: readonly string[], body: Buffer): Buffer {
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: staging.example:8000', ...headers];
  return Buffer.concat([Buffer.from(`${lines.join(CRLF)}${CRLF}${CRLF}`, 'latin1'), body]);
}

/** The chunked form of a body, in pieces of at most `pieceBytes`. */
export function chunked(body: Buffer, pieceBytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += pieceBytes) {
    const piece = body.subarray(at, at + pieceBytes);
    parts.push(Buffer.from(`${piece.length.toString(16)}${CRLF}`), piece, Buffer.from(CRLF));
  }
  return Buffer.concat([...parts, Buffer.from(`0${CRLF}${CRLF}`)]);
}

/** A whole answer with its content-length. */
export function plainAnswer(body: Buffer | string, contentType = 'application/json'): Buffer {
  const bytes = Buffer.from(body);
  const head = `HTTP/1.1 200 OK${CRLF}Content-Type: ${contentType}${CRLF}Content-Length: ${bytes.length}${CRLF}${CRLF}`;
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** A chunked event stream with one chunk for each event. Write each piece separately. */
export function streamedAnswer(events: readonly string[]): Buffer[] {
  const head = `HTTP/1.1 200 OK${CRLF}Content-Type: text/event-stream${CRLF}Transfer-Encoding: chunked${CRLF}${CRLF}`;
  const pieces = events.map((event) => `${Buffer.byteLength(event).toString(16)}${CRLF}${event}${CRLF}`);
  return [head, ...pieces, `0${CRLF}${CRLF}`].map((text) => Buffer.from(text));
}

/** Requests made by hand from public specifications, raw as in the files. */
export function handMadeRequests(): WireExchange[] {
  const folder = fixtureData('made-here-binary-bodies');
  return readdirSync(folder)
    .filter((file) => file.endsWith('.http'))
    .map((file) => ({
      name: file,
      request: readFileSync(join(folder, file)),
      answer: [plainAnswer('{"ok":true}')],
    }));
}

/**
 * Every payload file of a folder as a POST. Gzip files are used compressed and decompressed. Empty without the data.
 */
export function payloadRequests(folder: string): WireExchange[] {
  const root = sharedData(folder);
  if (root === null) return [];
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.json(\.gz)?$/.test(file),
  );
  return files.flatMap((file) => {
    const stored = readFileSync(join(root, file));
    const body = file.endsWith('.gz') ? gunzipSync(stored) : stored;
    const headers = ['Content-Type: application/json', 'x-Custom-CASE: a', 'X-Custom-Case: b'];
    const plain = [...headers, `Content-Length: ${body.length}`];
    const packed = [...headers, 'Content-Encoding: gzip', `content-length: ${stored.length}`];
    const answer = [plainAnswer('{"outputs":[]}')];
    const path = '/v1/models/payload:predict';
    return [
      { name: file, request: rawRequest('POST', path, plain, body), answer },
      ...(file.endsWith('.gz')
        ? [{ name: `${file} as it is`, request: rawRequest('POST', path, packed, stored), answer }]
        : []),
    ];
  });
}

interface Cassette {
  readonly request: CassetteMessage & { readonly method: string; readonly path: string };
  readonly response: CassetteMessage & { readonly status: number };
}

interface CassetteMessage {
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body_json?: unknown;
  readonly body_text?: string;
  readonly body_b64?: string;
}

/** Recorded exchanges with hosted model servers. Empty without the data. */
export function cassetteExchanges(count: number): WireExchange[] {
  const path = sharedData('pydantic-ai-cassettes/exchanges.jsonl.gz');
  if (path === null) return [];
  const lines = gunzipSync(readFileSync(path)).toString('utf8').split('\n').slice(0, count);
  return lines.map((line, index) => {
    const { request, response } = JSON.parse(line) as Cassette;
    const body = bodyOf(request);
    const headers = [...headerLines(request), `Content-Length: ${body.length}`];
    const answerBody = bodyOf(response);
    const events = answerBody.toString('utf8').split(/(?<=\n\n)/);
    const isStream = headerLines(response).some((header) => /text\/event-stream/i.test(header));
    return {
      name: `cassette ${index}`,
      request: rawRequest(request.method, request.path, headers, body),
      answer: isStream ? streamedAnswer(events) : [plainAnswer(answerBody)],
    };
  });
}

function bodyOf(message: CassetteMessage): Buffer {
  if (message.body_b64 !== undefined) return Buffer.from(message.body_b64, 'base64');
  if (message.body_text !== undefined) return Buffer.from(message.body_text);
  return message.body_json === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(message.body_json));
}

/** Only the content headers, because each message gets its own framing. */
function headerLines(message: CassetteMessage): string[] {
  return Object.entries(message.headers)
    .filter(
      ([name]) => !/^(content-length|transfer-encoding|connection|host|expect|content-encoding)$/i.test(name),
    )
    .flatMap(([name, values]) => [values].flat().map((value) => `${name}: ${value}`));
}

/** Random bodies of many sizes: with a length, chunked, and compressed with gzip. */
export function randomRequests(sizes: readonly number[]): WireExchange[] {
  return sizes.flatMap((size) => {
    const body = randomBytes(size);
    // Random bytes grow under gzip, and the compressed form must stay within the requested size.
    const packed = gzipSync(body.subarray(0, Math.floor(size * 0.99)), { level: 1 });
    const answer = [plainAnswer(randomBytes(Math.min(size, 100_000)), 'application/octet-stream')];
    const type = 'Content-Type: application/octet-stream';
    const gzip = [type, 'Content-Encoding: gzip', `Content-Length: ${packed.length}`];
    return [
      {
        name: `${size} B`,
        request: rawRequest('POST', '/any', [type, `Content-Length: ${size}`], body),
        answer,
      },
      {
        name: `${size} B chunked`,
        request: rawRequest('PUT', '/any?x=1', [type, 'Transfer-Encoding: chunked'], chunked(body, 70_001)),
        answer,
      },
      { name: `${size} B gzip`, request: rawRequest('POST', '/any', gzip, packed), answer },
    ];
  });
}
