import type { ExchangePayload, ExchangeRow } from '../core/exchange.ts';
import { type HeaderPair, headerValue, parseResponseHead } from '../core/headers.ts';
import { formatInstantUs } from '../core/units.ts';
import type {
  ExportedFile,
  ExportedRequest,
  ExportedSend,
  ExportSettings,
  ExportWriter,
} from './export-writer.ts';
import { asciiTarget, recordedPairs } from './exported-headers.ts';
import { isCoded } from './har-bodies.ts';
import { base64Text, harText, unpackedBody } from './har-content.ts';
import { inertJson } from './inert-text.ts';
import { OutputFile } from './output-file.ts';
import { TextCounts } from './text-counts.ts';

/** Stands for a host nobody recorded; `.invalid` never resolves (RFC 2606). */
const HOST_UNKNOWN = 'recorded.invalid';
const HTTP = 'HTTP/1.1';

/** An archive (HAR 1.2), one entry a planned request, with the response that was recorded. */
export class HarWriter implements ExportWriter {
  readonly lost = new TextCounts();
  readonly usage = ['mitmweb --rfile FILE'];
  readonly #file: OutputFile;
  readonly #origin: string | null;
  #entries = 0;

  constructor(path: string, { creator, origin }: ExportSettings) {
    this.#origin = origin;
    this.#file = new OutputFile(path);
    this.#file.write(`{"log":{"version":"1.2","creator":${inertJson(creator)},"entries":[`);
  }

  get files(): readonly ExportedFile[] {
    return [{ name: null, bytes: this.#file.bytes }];
  }

  add(send: ExportedSend): boolean {
    const { request, row } = send;
    if (request === null) return false;
    const recorded = send.recorded();
    const entry = {
      startedDateTime: formatInstantUs(send.instantUs),
      time: (row.clientLeftOffsetUs ?? row.lastByteOffsetUs ?? 0) / 1e3,
      request: this.#request(request, recorded),
      response: this.#response(row, recorded),
      cache: {},
      timings: timingsOf(row),
    };
    if (row.lastByteOffsetUs === null) this.lost.count('a latency that was not recorded: 0');
    this.#file.write(`${this.#entries === 0 ? '\n' : ',\n'}${inertJson(entry)}`);
    this.#entries += 1;
    return true;
  }

  end(): void {
    this.#file.write('\n]}}\n');
    this.#file.end();
  }

  abandon(): void {
    this.#file.abandon();
  }

  #request(request: ExportedRequest, recorded: ExchangePayload | null): object {
    const headers = recordedPairs(request.headers);
    const host = recorded?.request ? recordedHost(recorded.request.head) : null;
    const origin = this.#origin ?? `http://${host ?? HOST_UNKNOWN}`;
    if (request.chunked) this.lost.count('a chunked request body, which has its length here');
    return {
      method: request.method,
      url: origin + asciiTarget(request.path),
      httpVersion: HTTP,
      cookies: [],
      headers: pairsOf([['Host', origin.slice(origin.indexOf('//') + 2)], ...headers.filter(notHost)]),
      queryString: queryOf(request.path),
      headersSize: -1,
      bodySize: request.body?.length ?? 0,
      ...(request.body === null ? {} : { postData: this.#postData(headers, request.body) }),
    };
  }

  #postData(headers: readonly HeaderPair[], body: Uint8Array): object {
    // A text under a content coding, and one with the mark of what was no text, are taken for damaged ones.
    const doubtful =
      isCoded(headers) || Buffer.from(body.buffer, body.byteOffset, body.length).includes('\ufffd');
    const { text, encoding } = doubtful ? base64Text(body) : harText(body);
    const mimeType = headerValue(headers, 'content-type') ?? '';
    if (encoding === null) return { mimeType, text };
    this.lost.count('a binary request body: base64, which other readers take for text');
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
      this.lost.count('a response body whose content coding cannot be undone: left out');
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

/** That it failed, which the standard has no place for; browsers say it so. */
function failureOf({ outcome }: ExchangeRow): object {
  return outcome === 'completed' ? {} : { _error: outcome };
}

/** Milliseconds of each part; -1 where it is not known. */
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

/** The recorded authority, where it is one that can stand in a URL. */
function recordedHost(head: Uint8Array): string | null {
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength).toString('latin1');
  const host = /^host:[ \t]*([\w.\-[\]:]+)[ \t]*\r?$/im.exec(text)?.[1] ?? null;
  return host !== null && URL.canParse(`http://${host}/`) ? host : null;
}
