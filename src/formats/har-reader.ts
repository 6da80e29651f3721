import { OUTCOMES, type Outcome } from '../core/exchange.ts';
import { buildRequestHead, type HeaderPair, headerValue } from '../core/headers.ts';
import { parseInstantUs } from '../core/units.ts';
import { checkedInstant } from './exact-time.ts';
import { HarBodies } from './har-bodies.ts';
import type { ImportedBody, ImportedParts, ImportedResponse } from './imported-exchange.ts';
import { InputProblem, shown } from './input-problem.ts';
import { arrayAt, durationMsAt, numberAt, objectAt, textAt } from './json-fields.ts';
import type { JsonObject } from './json-line.ts';
import { checkStart, isHeader } from './request-draft.ts';
import { TextCounts } from './text-counts.ts';

/** Written anew: an archive holds bodies without their framing. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding']);

/** Entries of an archive as the parts of exchanges. */
export class HarReader {
  readonly lacking = new TextCounts();
  readonly #bodies = new HarBodies(this.lacking);

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
    const body = this.#bodies.ofRequest(request, headers);
    const named = headerValue(headers, 'host') !== null;
    const length: HeaderPair[] = body.bytes > 0 || needsLength(method) ? [lengthOf(body)] : [];
    const pairs: HeaderPair[] = [
      ...(named ? [] : [['Host', target.authority] as const]),
      ...headers,
      ...length,
    ];
    const answer = objectAt(entry, 'response');
    const outcome = outcomeOf(entry, answer);
    const totalMs = durationMsAt(entry, 'time');
    const response = this.#response(answer, method);
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
      session: null,
      clientLeftOffsetUs: outcome === 'client_aborted' && totalMs !== null ? Math.round(totalMs * 1e3) : null,
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

  #response(response: JsonObject | null, method: string): ImportedResponse | null {
    const status = response === null ? null : numberAt(response, 'status');
    if (response === null || status === null || status < 100 || status > 999 || !Number.isInteger(status)) {
      this.lacking.count('no status: nothing answered, or the file does not say what');
      return null;
    }
    const body = this.#bodies.ofResponse(response, method === 'HEAD' || status === 204 || status === 304);
    // An archive holds what came out of the content coding, so the header would not be true of it.
    const headers = this.#headers(response).filter(([name]) => name.toLowerCase() !== 'content-encoding');
    const length: HeaderPair[] = body.truncated && body.bytes === 0 ? [] : [lengthOf(body)];
    const reason = textAt(response, 'statusText').replace(/[^\t\x20-\x7e]/g, '');
    const lines = [...headers, ...length].map(([name, value]) => `${name}: ${value}\r\n`).join('');
    return { status, body, head: Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${lines}\r\n`, 'latin1') };
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

/** Without a status nothing is known of it, as of an arrival; it failed where the archive says so. */
function outcomeOf(entry: JsonObject, response: JsonObject | null): Outcome {
  const said = [response ?? {}, entry].flatMap((each) => [
    textAt(each, '_error'),
    textAt(each, '_failureText'),
  ]);
  const error = said.find((text) => text !== '');
  return error === undefined ? 'completed' : (OUTCOMES.find((known) => known === error) ?? 'upstream_failed');
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
