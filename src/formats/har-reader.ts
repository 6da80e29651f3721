import { buildRequestHead, type HeaderPair, headerValue } from '../core/headers.ts';
import { parseInstantUs } from '../core/units.ts';
import {
  type ImportedBody,
  type ImportedParts,
  type ImportedResponse,
  wholeBody,
} from './imported-exchange.ts';
import { InputProblem, shown } from './input-problem.ts';
import { arrayAt, numberAt, objectAt, textAt } from './json-fields.ts';
import type { JsonObject } from './json-line.ts';
import { checkStart, isHeader } from './request-draft.ts';
import { TextCounts } from './text-counts.ts';

/** Written anew: an archive holds bodies without their framing. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding']);

/** Entries of an archive as the parts of exchanges. */
export class HarReader {
  readonly lacking = new TextCounts();

  /**
   * @returns null for an entry that is no HTTP exchange
   * @throws InputProblem for one that says too little
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
    const length: HeaderPair[] = body.bytes > 0 || needsLength(method) ? [lengthOf(body)] : [];
    const pairs: HeaderPair[] = [
      ...(named ? [] : [['Host', target.authority] as const]),
      ...headers,
      ...length,
    ];
    const response = this.#response(objectAt(entry, 'response'));
    return {
      arrivalUs: arrivalOf(entry),
      outcome: response === null ? 'upstream_failed' : 'completed',
      request: {
        method,
        target: target.path,
        head: buildRequestHead(method, target.path, pairs),
        body,
        trailers: null,
      },
      response,
      session: null,
      ...this.#offsets(entry, response !== null),
    };
  }

  #headers(message: JsonObject): HeaderPair[] {
    const pairs: HeaderPair[] = [];
    for (const each of arrayAt(message, 'headers')) {
      const name = textAt(each, 'name');
      const value = textAt(each, 'value');
      // HTTP/2 has method, target and authority as headers of that form.
      if (name.startsWith(':') || FRAMING.has(name.toLowerCase())) continue;
      if (isHeader(name, value)) pairs.push([name, value]);
      else this.lacking.count('a header that HTTP/1.1 cannot have: left out');
    }
    return pairs;
  }

  #requestBody(request: JsonObject, headers: readonly HeaderPair[]): ImportedBody {
    const stated = numberAt(request, 'bodySize');
    const post = objectAt(request, 'postData');
    const text = post === null ? '' : textAt(post, 'text');
    if (post !== null && text !== '') return this.#statedBody(post, text, stated, headers);
    const form = post === null ? [] : arrayAt(post, 'params');
    const mimeType = post === null ? '' : textAt(post, 'mimeType');
    if (form.length > 0 && /^application\/x-www-form-urlencoded/i.test(mimeType)) {
      this.lacking.count('a request body that was put together from its parameters');
      const pairs = form.map((each): [string, string] => [textAt(each, 'name'), textAt(each, 'value')]);
      return wholeBody(Buffer.from(new URLSearchParams(pairs).toString()));
    }
    if (form.length === 0 && (stated === null || stated <= 0)) return wholeBody(Buffer.alloc(0));
    this.lacking.count('a request body that the file does not hold');
    return { bytes: Math.max(stated ?? 1, 1), kept: null, truncated: false };
  }

  #statedBody(
    post: JsonObject,
    text: string,
    stated: number | null,
    headers: readonly HeaderPair[],
  ): ImportedBody {
    if (textAt(post, '_encoding') === 'base64') return wholeBody(Buffer.from(text, 'base64'));
    const bytes = Buffer.from(text);
    const coded = !/^(?:identity)?$/i.test(headerValue(headers, 'content-encoding')?.trim() ?? '');
    if (coded || text.includes('\ufffd')) {
      this.lacking.count('a request body that the file has as text, which it was not');
      return { bytes: Math.max(stated ?? bytes.length, 1), kept: null, truncated: false };
    }
    if (stated !== null && stated > 0 && stated !== bytes.length) {
      this.lacking.count('a request body of another size than the file states');
    }
    return wholeBody(bytes);
  }

  #response(response: JsonObject | null): ImportedResponse | null {
    const status = response === null ? null : numberAt(response, 'status');
    if (response === null || status === null || status < 100 || status > 999 || !Number.isInteger(status)) {
      this.lacking.count('no status: nothing answered, or the file does not say what');
      return null;
    }
    const content = objectAt(response, 'content') ?? {};
    const text = textAt(content, 'text');
    const stated = Math.max(0, numberAt(content, 'size') ?? 0);
    const kept = Buffer.from(text, textAt(content, 'encoding') === 'base64' ? 'base64' : 'utf8');
    const known = text !== '' || stated === 0;
    if (!known) this.lacking.count('a response body that the file does not hold');
    const body = known ? wholeBody(kept) : { bytes: stated, kept: null, truncated: false };
    // An archive holds what came out of the content coding, so the header would not be true of it.
    const headers = this.#headers(response).filter(([name]) => name.toLowerCase() !== 'content-encoding');
    const reason = textAt(response, 'statusText').replace(/[^\t\x20-\x7e]/g, '');
    const lines = [...headers, lengthOf(body)].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return { status, body, head: Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${lines}\r\n`, 'latin1') };
  }

  #offsets(
    entry: JsonObject,
    answered: boolean,
  ): Pick<ImportedParts, 'requestEndOffsetUs' | 'firstByteOffsetUs' | 'lastByteOffsetUs'> {
    const timings = objectAt(entry, 'timings') ?? {};
    const part = (name: string): number => Math.max(0, numberAt(timings, name) ?? 0);
    const totalMs = numberAt(entry, 'time');
    const waited = (numberAt(timings, 'wait') ?? -1) >= 0;
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

function arrivalOf(entry: JsonObject): number {
  const text = textAt(entry, 'startedDateTime');
  try {
    const arrivalUs = parseInstantUs(text, 'startedDateTime');
    if (arrivalUs >= 0) return arrivalUs;
  } catch (cause) {
    throw new InputProblem(`startedDateTime ${shown(text)} is no instant`, { cause });
  }
  throw new InputProblem(`startedDateTime ${shown(text)} is before 1970`);
}

/** Path, query and authority of a URL, as written where they can stand in a request line. */
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

function needsLength(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH';
}
