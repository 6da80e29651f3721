import { decodeContent } from '../core/content-coding.ts';
import {
  type Exchange,
  type ExchangePayload,
  type ExchangeRow,
  isHttp2,
  OUTCOMES,
  type Outcome,
} from '../core/exchange.ts';
import {
  buildRequestHead,
  type HeaderPair,
  HTTP2_VERSION,
  headerValue,
  parseResponseHead,
} from '../core/headers.ts';
import { inertJson, TextCounts } from '../core/text.ts';
import { formatInstantUs, parseInstantUs } from '../core/units.ts';
import { checkedInstant } from './exact-time.ts';
import {
  asciiTarget,
  type ExportedRequest,
  type ExportedSend,
  type ExportFormat,
  type ExportSettings,
  ExportWriter,
  type OutputFile,
  recordedPairs,
} from './export-writer.ts';
import {
  BODIES_OPTION,
  type ImportedBody,
  type ImportedParts,
  type ImportedResponse,
  ImportSource,
  type ImportSourceDeps,
  importedExchange,
  importFormat,
  type OpenImport,
  placed,
  wholeBody,
} from './import-source.ts';
import {
  arrayAt,
  base64Bytes,
  durationMsAt,
  InputProblem,
  type JsonObject,
  jsonItems,
  numberAt,
  objectAt,
  parseJsonLine,
  shown,
  sizeAt,
  textAt,
  textBytes,
} from './input.ts';
import { checkStart, isHeader, missingHeaders } from './request-draft.ts';

/** HTTP archives, which browsers, proxies and API clients read and write. */
export const HAR: ExportFormat = {
  name: 'har',
  summary: 'an HTTP archive (HAR 1.2) with the recorded responses',
  shape: 'file',
  holds: 'requests',
  holdsCalls: true,
  takes: ['target'],
  needsTarget: false,
  cannotCarry: [
    'times finer than other readers keep: milliseconds',
    'binary request bodies: the standard has no base64 for them, so they carry a mark of Reprise',
    'hop-by-hop headers and headers whose value was masked',
    'the times of chunks, trailers, and which connection a request came on',
  ],
  open: (path, settings) => new HarWriter(path, settings),
};

/** What an archive never contains. */
const MISSING_FROM_HAR = [
  'connections',
  'clients',
  'sessions',
  'the times of chunks',
  'trailers',
  'the content coding of responses',
  'losses and coverage: what else the client did is unknown',
] as const;

/** Reads an archive. Its latencies are the client's and include waiting for a connection. */
export function openHar(path: string): OpenImport {
  return async (deps) => {
    const reader = new HarReader();
    return new ImportSource({
      path,
      requests: true,
      missing: MISSING_FROM_HAR,
      details: { format: 'har', latencies: 'of the client, from the start of its entry' },
      lacking: reader.lacking,
      read: (signal) => harExchanges(path, reader, deps, signal),
    });
  };
}

async function* harExchanges(
  path: string,
  reader: HarReader,
  deps: ImportSourceDeps,
  signal: AbortSignal,
): AsyncGenerator<Exchange[]> {
  const onOther = () => reader.lacking.count('an entry that is not an object: left out');
  for await (const items of jsonItems(textBytes(path, signal), ['log', 'entries'], onOther)) {
    const exchanges: Exchange[] = [];
    for (const { number, bytes } of items) {
      try {
        const parts = reader.read(parseJsonLine({ number: 0, bytes }));
        if (parts !== null) exchanges.push(importedExchange(parts, deps));
      } catch (thrown) {
        throw placed(`entry ${number}`, thrown);
      }
    }
    yield exchanges;
  }
}

/** Headers that are rebuilt, because an archive stores bodies without their framing. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding']);

/** Converts entries of an archive into parts of exchanges. */
class HarReader {
  readonly lacking = new TextCounts();

  /**
   * @returns null for an entry that is no HTTP exchange
   * @throws InputProblem for an incomplete entry
   */
  read(entry: JsonObject): ImportedParts | null {
    const request = objectAt(entry, 'request');
    if (request === null) throw new InputProblem('no request');
    const target = targetOf(textAt(request, 'url'));
    if (target === null) {
      this.lacking.count('no HTTP exchange (data:, blob:, ws: …): left out');
      return null;
    }
    const method = textAt(request, 'method');
    checkStart(method, target.path);
    const headers = this.#headers(request);
    const body = this.#requestBody(request, headers);
    const named = headerValue(headers, 'host') !== null;
    const pairs: HeaderPair[] = [
      ...(named ? [] : [['Host', target.authority] as const]),
      ...headers,
      ...missingHeaders(method, headers, body.bytes, false).last,
    ];
    const answer = objectAt(entry, 'response');
    const totalMs = durationMsAt(entry, 'time');
    const response = this.#response(answer, method);
    const outcome = failureIn(entry, answer) ?? (response === null ? null : 'completed');
    return {
      arrivalUs: arrivalOf(entry),
      outcome,
      request: {
        method,
        target: target.path,
        head: buildRequestHead(method, target.path, pairs),
        body,
        trailers: null,
      },
      response,
      clientLeftOffsetUs: outcome === 'client_aborted' && totalMs !== null ? Math.round(totalMs * 1e3) : null,
      ...this.#offsets(entry, response !== null),
    };
  }

  #headers(message: JsonObject): HeaderPair[] {
    const pairs: HeaderPair[] = [];
    for (const each of arrayAt(message, 'headers')) {
      const name = textAt(each, 'name');
      const value = textAt(each, 'value');
      // HTTP/2 method, target and authority appear as headers of this form.
      if (name.startsWith(':') || FRAMING.has(name.toLowerCase())) continue;
      if (isHeader(name, value)) pairs.push([name, value]);
      else this.lacking.count('a header that HTTP/1.1 cannot have: left out');
    }
    return pairs;
  }

  #response(response: JsonObject | null, method: string): ImportedResponse | null {
    const status = response === null ? null : numberAt(response, 'status');
    if (response === null || status === null || status < 100 || status > 999 || !Number.isInteger(status)) {
      this.lacking.count('no status: nothing answered, or the file does not say what');
      return null;
    }
    const body = this.#responseBody(response, method === 'HEAD' || status === 204 || status === 304);
    // An archive stores decoded bodies, so this header would be wrong.
    const headers = this.#headers(response).filter(([name]) => name.toLowerCase() !== 'content-encoding');
    const length: HeaderPair[] = body.truncated && body.bytes === 0 ? [] : [lengthOf(body)];
    const reason = textAt(response, 'statusText').replace(/[^\t\x20-\x7e]/g, '');
    const lines = [...headers, ...length].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return { status, body, head: Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${lines}\r\n`, 'latin1') };
  }

  /** A body that may differ from the sent one is not used, only counted. */
  #requestBody(request: JsonObject, headers: readonly HeaderPair[]): ImportedBody {
    const stated = sizeAt(request, 'bodySize') ?? 0;
    const post = objectAt(request, 'postData') ?? {};
    if (textAt(post, 'text') !== '') return this.#postedBody(post, stated, headers);
    const form = arrayAt(post, 'params');
    if (form.length > 0 && /^application\/x-www-form-urlencoded/i.test(textAt(post, 'mimeType'))) {
      this.lacking.count('a request body rebuilt from its parameters');
      const pairs = form.map((each): [string, string] => [textAt(each, 'name'), textAt(each, 'value')]);
      return wholeBody(Buffer.from(new URLSearchParams(pairs).toString()));
    }
    if (form.length === 0 && stated === 0) return wholeBody(Buffer.alloc(0));
    return this.#lost('a request body missing from the file', stated);
  }

  #postedBody(post: JsonObject, stated: number, headers: readonly HeaderPair[]): ImportedBody {
    const text = textAt(post, 'text');
    const isBase64 = textAt(post, 'encoding') === 'base64' || textAt(post, '_encoding') === 'base64';
    const bytes = isBase64 ? base64Bytes(text) : Buffer.from(text);
    if (bytes === null) return this.#lost('a request body whose base64 is damaged', stated);
    if (!isBase64 && (isCoded(headers) || text.includes('\ufffd'))) {
      return this.#lost('a binary request body that the file stores as text', stated || bytes.length);
    }
    // The text may have been decoded, truncated or rebuilt, so it differs from what was sent.
    if (stated > 0 && stated !== bytes.length) {
      return this.#lost('a request body of another size than the file states', stated);
    }
    return wholeBody(bytes);
  }

  /** @param bodiless whether responses of this kind have no body */
  #responseBody(response: JsonObject, bodiless: boolean): ImportedBody {
    const content = objectAt(response, 'content') ?? {};
    const text = textAt(content, 'text');
    const size = sizeAt(content, 'size');
    const kept = textAt(content, 'encoding') === 'base64' ? base64Bytes(text) : Buffer.from(text);
    if (kept === null) {
      this.lacking.count('a response body whose base64 is damaged');
      return { bytes: size ?? 0, kept: null, truncated: size === null };
    }
    if (text === '' && size !== 0) {
      if (bodiless) return wholeBody(kept);
      this.lacking.count('a response body missing from the file');
      // If its size is unknown too, treat it as truncated before its first byte.
      return { bytes: size ?? 0, kept: null, truncated: size === null };
    }
    if (size !== null && size > kept.length) return { bytes: size, kept, truncated: true };
    if (size !== null && size < kept.length) {
      this.lacking.count('a response body of another size than the file states');
    }
    return { bytes: kept.length, kept, truncated: content['_truncated'] === true };
  }

  #lost(why: string, stated: number): ImportedBody {
    this.lacking.count(why);
    return { bytes: Math.max(stated, 1), kept: null, truncated: false };
  }

  #offsets(
    entry: JsonObject,
    answered: boolean,
  ): Pick<ImportedParts, 'requestEndOffsetUs' | 'firstByteOffsetUs' | 'lastByteOffsetUs'> {
    const timings = objectAt(entry, 'timings') ?? {};
    const part = (name: string): number => durationMsAt(timings, name) ?? 0;
    const totalMs = durationMsAt(entry, 'time');
    const waited = durationMsAt(timings, 'wait') !== null;
    const sentMs = part('blocked') + part('dns') + part('connect') + part('send');
    const knownEnd = answered && totalMs !== null && totalMs > 0;
    if (answered && !knownEnd) this.lacking.count('no latency');
    return {
      requestEndOffsetUs: answered && waited ? Math.round(sentMs * 1e3) : null,
      firstByteOffsetUs: answered && waited ? Math.round((sentMs + part('wait')) * 1e3) : null,
      lastByteOffsetUs: knownEnd ? Math.round(totalMs * 1e3) : null,
    };
  }
}

/** Null if the archive does not say that the exchange failed. */
function failureIn(entry: JsonObject, response: JsonObject | null): Outcome | null {
  const said = [response ?? {}, entry].flatMap((each) => [
    textAt(each, '_error'),
    textAt(each, '_failureText'),
  ]);
  const error = said.find((text) => text !== '');
  return error === undefined ? null : (OUTCOMES.find((known) => known === error) ?? 'upstream_failed');
}

function arrivalOf(entry: JsonObject): number {
  const text = textAt(entry, 'startedDateTime');
  let arrivalUs: number;
  try {
    arrivalUs = parseInstantUs(text, 'startedDateTime');
  } catch (cause) {
    throw new InputProblem(`startedDateTime ${shown(text)} is no instant`, { cause });
  }
  return checkedInstant(arrivalUs, text);
}

/** Path, query and authority of a URL, unchanged if valid in a request line. */
function targetOf(url: string): { readonly path: string; readonly authority: string } | null {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return null;
  const parsed = new URL(url);
  const written = /^[a-z]+:\/\/[^/?#]*([^#]*)/i.exec(url)?.[1] ?? '';
  const usable = /^\/[\x21-\x7e]*$/.test(written);
  return { path: usable ? written : parsed.pathname + parsed.search, authority: parsed.host };
}

function lengthOf({ bytes }: ImportedBody): HeaderPair {
  return ['Content-Length', String(bytes)];
}

/** Whether a message declares a content coding. */
function isCoded(headers: readonly HeaderPair[]): boolean {
  return !/^(?:identity)?$/i.test(headerValue(headers, 'content-encoding')?.trim() ?? '');
}

/** Placeholder for an unknown host; `.invalid` never resolves (RFC 2606). */
const HOST_UNKNOWN = 'recorded.invalid';
const HTTP = 'HTTP/1.1';

/** Writes an archive (HAR 1.2), one entry per planned request, with the recorded response. */
class HarWriter extends ExportWriter {
  readonly usage = ['mitmweb --rfile FILE'];
  readonly #file: OutputFile;
  readonly #origin: string | null;
  #entries = 0;

  constructor(path: string, { creator, origin }: ExportSettings) {
    super();
    this.#origin = origin;
    this.#file = this.open(path);
    this.#file.write(`{"log":{"version":"1.2","creator":${inertJson(creator)},"entries":[`);
  }

  override add(send: ExportedSend): boolean {
    const { request, row } = send;
    if (request === null) return false;
    const recorded = send.recorded();
    const entry = {
      startedDateTime: formatInstantUs(send.instantUs),
      time: (row.clientLeftOffsetUs ?? row.lastByteOffsetUs ?? 0) / 1e3,
      request: this.#request(request, row, recorded),
      response: this.#response(row, recorded),
      cache: {},
      timings: timingsOf(row),
    };
    if (row.lastByteOffsetUs === null) this.lost.count('an unrecorded latency: 0');
    this.#file.write(`${this.#entries === 0 ? '\n' : ',\n'}${inertJson(entry)}`);
    this.#entries += 1;
    return true;
  }

  protected override finish(): void {
    this.#file.write('\n]}}\n');
  }

  #request(request: ExportedRequest, row: ExchangeRow, recorded: ExchangePayload | null): object {
    const headers = recordedPairs(request.headers);
    const host = recorded?.request ? recordedHost(recorded.request.head) : null;
    const origin = this.#origin ?? `http://${host ?? HOST_UNKNOWN}`;
    if (request.chunked) this.lost.count('a chunked request body: stored with its length');
    return {
      method: request.method,
      url: origin + asciiTarget(request.path),
      httpVersion: isHttp2(row) ? HTTP2_VERSION : HTTP,
      cookies: [],
      headers: pairsOf([['Host', origin.slice(origin.indexOf('//') + 2)], ...headers.filter(notHost)]),
      queryString: queryOf(request.path),
      headersSize: -1,
      bodySize: request.body?.length ?? 0,
      ...(request.body === null ? {} : { postData: this.#postData(headers, request.body) }),
    };
  }

  #postData(headers: readonly HeaderPair[], body: Uint8Array): object {
    // Encoded text, and text with the replacement character (binary data), would be damaged as text.
    const doubtful =
      isCoded(headers) || Buffer.from(body.buffer, body.byteOffset, body.length).includes('\ufffd');
    const { text, encoding } = doubtful ? base64Text(body) : harText(body);
    const mimeType = headerValue(headers, 'content-type') ?? '';
    if (encoding === null) return { mimeType, text };
    this.lost.count('a binary request body: base64, which other readers treat as text');
    return { mimeType, text, _encoding: encoding };
  }

  #response(row: ExchangeRow, recorded: ExchangePayload | null): object {
    const response = recorded?.response ?? null;
    if (response === null) {
      this.lost.count('a response that was not recorded');
      return { ...NO_RESPONSE, status: row.status ?? 0, ...failureOf(row) };
    }
    const head = parseResponseHead(response.head);
    return {
      status: head.status,
      statusText: head.reason,
      httpVersion: head.version || HTTP,
      cookies: [],
      headers: pairsOf(head.headers),
      content: this.#content(head.headers, response.body),
      redirectURL: headerValue(head.headers, 'location') ?? '',
      headersSize: response.head.length,
      bodySize: response.body.bytes,
      ...failureOf(row),
    };
  }

  #content(headers: readonly HeaderPair[], body: NonNullable<ExchangePayload['response']>['body']): object {
    const mimeType = headerValue(headers, 'content-type') ?? 'application/octet-stream';
    const unknown = { size: body.bytes, mimeType };
    if (body.kept === null) {
      if (body.bytes > 0) this.lost.count('a response body that was not recorded');
      return unknown;
    }
    if (body.truncated) this.lost.count('a response body that was recorded in part');
    const unpacked = unpackedBody(headers, body.kept);
    if (unpacked === null) {
      this.lost.count('a response body with an unreadable content coding: left out');
      return unknown;
    }
    const { text, encoding } = harText(unpacked);
    const size = body.truncated ? body.bytes : unpacked.length;
    const cut = body.truncated ? { _truncated: true } : {};
    return { size, mimeType, text, ...(encoding === null ? {} : { encoding }), ...cut };
  }
}

const NO_RESPONSE = {
  statusText: '',
  httpVersion: HTTP,
  cookies: [],
  headers: [],
  content: { size: -1, mimeType: 'application/octet-stream' },
  redirectURL: '',
  headersSize: -1,
  bodySize: -1,
};

/** Marks a failed exchange as browsers do, because the standard has no field for failures. */
function failureOf({ outcome }: ExchangeRow): object {
  return outcome === null || outcome === 'completed' ? {} : { _error: outcome };
}

/** Duration of each phase in milliseconds; -1 if unknown. */
function timingsOf({ requestEndOffsetUs, firstByteOffsetUs, lastByteOffsetUs }: ExchangeRow): object {
  const sentUs = requestEndOffsetUs ?? (firstByteOffsetUs === null ? null : 0);
  const between = (from: number | null, to: number | null): number =>
    from === null || to === null ? -1 : Math.max(0, to - from) / 1e3;
  return {
    send: sentUs === null ? -1 : sentUs / 1e3,
    wait: between(sentUs, firstByteOffsetUs),
    receive: between(firstByteOffsetUs, lastByteOffsetUs),
  };
}

function queryOf(path: string): object[] {
  const at = path.indexOf('?');
  if (at < 0) return [];
  return [...new URLSearchParams(path.slice(at + 1))].map(([name, value]) => ({ name, value }));
}

function pairsOf(headers: readonly HeaderPair[]): object[] {
  return headers.map(([name, value]) => ({ name, value }));
}

function notHost([name]: HeaderPair): boolean {
  return name.toLowerCase() !== 'host';
}

/** The recorded authority, if it is valid in a URL. */
function recordedHost(head: Uint8Array): string | null {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  const host = /^host:[ \t]*([\w.\-[\]:]+)[ \t]*\r?$/im.exec(text)?.[1] ?? null;
  return host !== null && URL.canParse(`http://${host}/`) ? host : null;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A body in HAR format: text, or base64 for binary data. */
function harText(body: Uint8Array): ReturnType<typeof base64Text> {
  try {
    return { text: UTF8.decode(body), encoding: null };
  } catch {
    return base64Text(body);
  }
}

function base64Text(body: Uint8Array): { readonly text: string; readonly encoding: 'base64' | null } {
  return { text: Buffer.from(body).toString('base64'), encoding: 'base64' };
}

/** A body without its content codings, as HAR stores responses; null if invalid or too large. */
function unpackedBody(headers: readonly HeaderPair[], body: Uint8Array): Uint8Array | null {
  try {
    return decodeContent(body, headerValue(headers, 'content-encoding')).bytes;
  } catch {
    // Truncated, damaged or a decompression bomb: counted by the caller.
    return null;
  }
}

export const HAR_IMPORT = importFormat({
  summary: 'from an HTTP archive (HAR) of a browser or proxy',
  description: null,
  files: ['<file>', 'the archive'],
  rows: 'exchanges',
  options: BODIES_OPTION,
  open: ([file = '']) => openHar(file),
});
