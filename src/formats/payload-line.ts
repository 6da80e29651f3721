import type { HeaderPair } from '../core/headers.ts';
import { base64Bytes } from './base64-text.ts';
import { InputProblem, shown } from './input-problem.ts';
import { type JsonObject, lineProblem, parseJsonLine } from './json-line.ts';
import { verbatimMember } from './json-verbatim.ts';
import { draftRequest, type RequestDraft } from './request-draft.ts';
import type { TextLine } from './text-lines.ts';

/** What payloads that are bare bodies are sent as. */
export interface BodyRequest {
  readonly method: string;
  /** Null: every payload must name its path itself. */
  readonly path: string | null;
}

const REQUEST_KEYS = ['method', 'path', 'headers', 'body', 'bodyBase64'] as const;

/**
 * Reads one line of a payload file: `{method, path, headers, body | bodyBase64}`. A line with none of these
 * keys is itself the body, byte for byte, of a request to `fallback.path`.
 * @throws InputProblem naming the line.
 */
export function parsePayloadLine(line: TextLine, fallback: BodyRequest): RequestDraft {
  const object = parseJsonLine(line);
  try {
    if (!REQUEST_KEYS.some((key) => Object.hasOwn(object, key))) return bareBody(line.bytes, fallback);
    const method = textOf(object, 'method') ?? fallback.method;
    const path = textOf(object, 'path') ?? fallback.path;
    if (path === null) throw withoutPath();
    const { body, isJson } = bodyOf(object, line.bytes);
    return draftRequest(method, path, withContentType(headersOf(object['headers']), isJson), body);
  } catch (thrown) {
    throw lineProblem(thrown, line.number);
  }
}

/** The way out for a payload that does not say where it goes. */
export function withoutPath(): InputProblem {
  return new InputProblem('no path', { hint: 'Say where bare bodies go, e.g. --path /v1/chat/completions.' });
}

function bareBody(body: Uint8Array, fallback: BodyRequest): RequestDraft {
  if (fallback.path === null) throw withoutPath();
  return draftRequest(fallback.method, fallback.path, [['Content-Type', 'application/json']], body);
}

function bodyOf(object: JsonObject, text: Buffer): { body: Uint8Array; isJson: boolean } {
  const { body, bodyBase64 } = object as { body?: unknown; bodyBase64?: unknown };
  const hasBody = body !== undefined && body !== null;
  if (bodyBase64 === undefined || bodyBase64 === null) {
    if (!hasBody) return { body: Buffer.alloc(0), isJson: false };
    if (typeof body === 'string') return { body: Buffer.from(body), isJson: false };
    return { body: verbatimMember(text, object, 'body'), isJson: true };
  }
  if (hasBody) throw new InputProblem('both body and bodyBase64', { hint: 'Give one of them.' });
  const bytes = typeof bodyBase64 === 'string' ? base64Bytes(bodyBase64) : null;
  if (bytes === null) throw new InputProblem('bodyBase64 is not base64');
  return { body: bytes, isJson: false };
}

/** Headers as `{name: value | [value, …]}` or, where order and duplicates matter, `[[name, value], …]`. */
function headersOf(headers: unknown): HeaderPair[] {
  if (headers === undefined || headers === null) return [];
  if (typeof headers !== 'object') throw headersProblem();
  if (Array.isArray(headers)) {
    return headers.map((pair: unknown) => {
      if (!Array.isArray(pair) || pair.length !== 2) throw headersProblem();
      return [headerText(pair[0]), headerText(pair[1])];
    });
  }
  return Object.entries(headers).flatMap(([name, value]: [string, unknown]) =>
    (Array.isArray(value) ? value : [value]).map((one: unknown): HeaderPair => [name, headerText(one)]),
  );
}

function headerText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  throw headersProblem();
}

function headersProblem(): InputProblem {
  return new InputProblem('headers are neither an object nor pairs of text', {
    hint: 'Give {"name": "value"}, {"name": ["value", "value"]} or [["name", "value"]].',
  });
}

function withContentType(headers: readonly HeaderPair[], isJson: boolean): readonly HeaderPair[] {
  const named = headers.some(([name]) => name.toLowerCase() === 'content-type');
  return isJson && !named ? [...headers, ['Content-Type', 'application/json']] : headers;
}

function textOf(object: JsonObject, key: string): string | null {
  const value = object[key];
  if (value === undefined || value === null) return null;
  if (typeof value === 'string') return value;
  throw new InputProblem(`${key} is no text: ${shown(JSON.stringify(value))}`);
}
