import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { z } from 'zod';
import { AppError, reasonOf } from '../core/errors.ts';
import type { Exchange, Message } from '../core/exchange.ts';
import { type HeaderPair, headerValue } from '../core/headers.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import type { SeededRandom } from '../core/random.ts';
import { routeOf } from '../core/routes.ts';
import { TextCounts } from '../core/text.ts';
import { formatBytes } from '../core/units.ts';
import { modelOfJson } from '../inference/features.ts';
import type { Redaction } from '../redaction/head-redaction.ts';
import { requestMessage, wholeBody } from './import-source.ts';
import {
  base64Bytes,
  InputProblem,
  inputBytes,
  type JsonObject,
  lineProblem,
  parseJsonLine,
  type TextLine,
  textBytes,
  textLines,
  verbatimMember,
} from './input.ts';
import { factsOfCall, type LoggedCall, loggedCall, startsAsTfRecord, tfRecords } from './prediction-log.ts';
import { draftRequest, parseRawRequest, type RequestDraft } from './request-draft.ts';

/** The facts that an exchange takes from the request it is paired with. */
interface PooledRequest
  extends Pick<Exchange, 'protocol' | 'method' | 'route' | 'model' | 'requestMessages'> {
  readonly request: Message;
}

interface PayloadPoolDeps {
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly random: SeededRandom;
}

/** The requests to pair with arrivals: redacted and hashed once, drawn with replacement by seed. */
export class PayloadPool {
  readonly #requests: readonly PooledRequest[];
  readonly #random: SeededRandom;
  /** Total bytes of all bodies. */
  readonly bodyBytes: number;
  /** Names of files in a folder that hold no request. */
  readonly skippedFiles: readonly string[];

  constructor(requests: readonly PooledRequest[], random: SeededRandom, skippedFiles: readonly string[]) {
    this.#requests = requests;
    this.#random = random;
    this.bodyBytes = requests.reduce((sum, { request }) => sum + request.body.bytes, 0);
    this.skippedFiles = skippedFiles;
  }

  get size(): number {
    return this.#requests.length;
  }

  /** The next request of the seeded sequence. */
  draw(): PooledRequest {
    return this.#requests[this.#random.below(this.#requests.length)]!;
  }
}

/**
 * Reads a JSONL or a folder of requests into memory.
 * @throws AppError INPUT_INVALID for a malformed payload, no payload, or more than the memory limit
 */
export async function loadPayloads(
  path: string,
  fallback: BodyRequest,
  deps: PayloadPoolDeps,
  signal: AbortSignal,
): Promise<PayloadPool> {
  const requests: PooledRequest[] = [];
  const skipped: string[] = [];
  let poolBytes = 0;
  for await (const entry of payloadEntries(path, fallback, signal)) {
    signal.throwIfAborted();
    if ('skipped' in entry) {
      skipped.push(entry.skipped);
      continue;
    }
    const { draft, file, line } = entry;
    const place = line === null ? file : `${file}, ${entry.call === undefined ? 'line' : 'record'} ${line}`;
    if (draft.body.length > LIMITS.requestBodyBytes) {
      throw new AppError('INPUT_INVALID', `${place}: the body has ${formatBytes(draft.body.length)}`, {
        hint: `A request body may have ${formatBytes(LIMITS.requestBodyBytes)}.`,
      });
    }
    poolBytes += draft.body.length + draft.head.length;
    if (poolBytes > LIMITS.importPoolBytes) {
      throw new AppError(
        'INPUT_INVALID',
        `${place}: more than ${formatBytes(LIMITS.importPoolBytes)} so far`,
        {
          hint: 'Payloads are held in memory: pass a sample of them.',
        },
      );
    }
    requests.push({ ...pooled(draft, deps), ...(entry.call && factsOfCall(entry.call)) });
  }
  if (requests.length === 0) {
    throw new AppError('INPUT_INVALID', `${path}: holds no request`, {
      hint: 'Give a JSONL of {method, path, headers, body | bodyBase64}, a folder of .http and .json files, or a TFRecord of PredictionLog.',
    });
  }
  return new PayloadPool(requests, deps.random, skipped);
}

function pooled(draft: RequestDraft, deps: PayloadPoolDeps): PooledRequest {
  const { method, body } = draft;
  const { route, model } = routeOf(method, draft.target, deps.redaction);
  return {
    protocol: 'http/1.1',
    method,
    route,
    model: model ?? modelOfJson(body),
    request: requestMessage({ ...draft, body: wholeBody(body) }, deps),
  };
}

/** A request, or the name of a skipped file that holds no request (a licence, a readme). */
type PayloadFileEntry =
  | {
      readonly draft: RequestDraft;
      readonly file: string;
      /** Or number of a record. */
      readonly line: number | null;
      /** Of a record of a log of calls. */
      readonly call?: LoggedCall;
    }
  | { readonly skipped: string };

/** Files of a folder that are bodies, by extension. With `.gz` after it they are decompressed. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.json': 'application/json',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.png': 'image/png',
  '.wav': 'audio/wav',
  '.bin': 'application/octet-stream',
};

/**
 * The requests of a JSONL, or of a folder with its subfolders. `.http` files are raw request messages. Files
 * of a known type are bodies of requests to `fallback.path`. They come in the order of lines or names.
 * @throws AppError INPUT_INVALID naming file, line and reason
 */
async function* payloadEntries(
  path: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): AsyncGenerator<PayloadFileEntry> {
  if (await isLog(path, signal)) yield* recordsOf(path, signal);
  else if (!(await isFolder(path))) yield* linesOf(path, fallback, signal);
  else for (const name of await filesBelow(path)) yield await fileOf(path, name, fallback, signal);
}

async function isLog(path: string, signal: AbortSignal): Promise<boolean> {
  // A pipe can be read only once. What cannot be read is reported where it is read for good.
  if ((await stat(path).catch(() => null))?.isFile() !== true) return false;
  return await startsAsTfRecord(path, signal).catch(() => false);
}

async function* recordsOf(path: string, signal: AbortSignal): AsyncGenerator<PayloadFileEntry> {
  const file = basename(path);
  try {
    for await (const record of tfRecords(inputBytes(path, signal))) {
      const call = loggedCall(record, new TextCounts());
      if (call === null) yield { skipped: `${file}, record ${record.number}` };
      else yield { draft: call.draft, file, line: record.number, call };
    }
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
  }
}

async function* linesOf(
  path: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): AsyncGenerator<PayloadFileEntry> {
  const file = basename(path);
  try {
    for await (const lines of textLines(textBytes(path, signal))) {
      for (const line of lines) {
        yield { draft: parsePayloadLine(line, fallback), file, line: line.number };
      }
    }
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
  }
}

async function fileOf(
  folder: string,
  name: string,
  fallback: BodyRequest,
  signal: AbortSignal,
): Promise<PayloadFileEntry> {
  const extension = extname(name.replace(/\.gz$/i, '')).toLowerCase();
  const contentType = CONTENT_TYPES[extension];
  if (extension !== '.http' && contentType === undefined) return { skipped: name };
  const path = join(folder, name);
  try {
    const bytes = await readWhole(path, signal);
    if (contentType === undefined) return { draft: parseRawRequest(bytes), file: name, line: null };
    return { draft: bodyDraft(bytes, contentType, fallback), file: name, line: null };
  } catch (thrown) {
    throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
  }
}

async function readWhole(path: string, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of inputBytes(path, signal)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > LIMITS.importLineBytes) {
      throw new InputProblem(`the file has more than ${LIMITS.importLineBytes} bytes`);
    }
  }
  return Buffer.concat(chunks);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (thrown) {
    throw new InputProblem(`cannot be read: ${reasonOf(thrown)}`, { cause: thrown }).toAppError(path);
  }
}

/** Relative paths of the files below a folder, in an order that does not depend on the locale. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Method and path for payloads that are only bodies. */
export interface BodyRequest {
  readonly method: string;
  /** Null: every payload must name its path. */
  readonly path: string | null;
}

const headerText = z.union([z.string(), z.number().transform(String)]);

/** A line of a payload file; null counts as absent. */
const payloadLine = z.object({
  method: z.string().nullish(),
  path: z.string().nullish(),
  /** `{name: value | [value, …]}` or, if order and duplicates matter, `[[name, value], …]`. */
  headers: z
    .union([
      z.array(z.tuple([headerText, headerText])),
      z.record(z.string(), z.union([headerText, z.array(headerText)])),
    ])
    .nullish(),
  body: z.unknown().optional(),
  bodyBase64: z.string().nullish(),
});
type PayloadLine = z.infer<typeof payloadLine>;

/** The error text for each invalid member of a line. */
const EXPECTED: Readonly<Record<string, string>> = {
  headers: 'headers are neither an object nor pairs of text',
  bodyBase64: 'bodyBase64 is not base64',
  method: 'method is not text',
  path: 'path is not text',
};
const HEADERS_HINT =
  'Headers are {"name": "value"}, {"name": ["value", "value"]} or [["name", "value"]]; all else is text.';

/**
 * Parses one line of a payload file: `{method, path, headers, body | bodyBase64}`. A line without any of
 * these keys is itself the body, byte for byte, of a request to `fallback.path`.
 * @throws InputProblem naming the line
 */
function parsePayloadLine(line: TextLine, fallback: BodyRequest): RequestDraft {
  const object = parseJsonLine(line);
  try {
    const isBare = !Object.keys(payloadLine.shape).some((key) => Object.hasOwn(object, key));
    if (isBare) return bodyDraft(line.bytes, 'application/json', fallback);
    const { success, data, error } = payloadLine.safeParse(object);
    if (!success) {
      const member = String(error.issues[0]?.path[0]);
      throw new InputProblem(EXPECTED[member] ?? `${member} is not valid`, { hint: HEADERS_HINT });
    }
    const path = pathOf(data.path ?? fallback.path);
    const { body, isJson } = bodyOf(data, object, line.bytes);
    return draftRequest(data.method ?? fallback.method, path, headersOf(data, isJson), body);
  } catch (thrown) {
    throw lineProblem(thrown, line.number);
  }
}

/** @throws InputProblem for a payload without a path */
function pathOf(path: string | null): string {
  if (path !== null) return path;
  throw new InputProblem('no path', {
    hint: 'Set the path of bare bodies, e.g. --request-path /v1/chat/completions.',
  });
}

/** A request with only a body. */
export function bodyDraft(
  body: Uint8Array,
  contentType: string,
  { method, path }: BodyRequest,
): RequestDraft {
  return draftRequest(method, pathOf(path), [['Content-Type', contentType]], body);
}

function bodyOf(
  { body, bodyBase64 }: PayloadLine,
  object: JsonObject,
  text: Buffer,
): { readonly body: Uint8Array; readonly isJson: boolean } {
  const hasBody = body !== undefined && body !== null;
  if (bodyBase64 == null) {
    if (!hasBody) return { body: Buffer.alloc(0), isJson: false };
    if (typeof body === 'string') return { body: Buffer.from(body), isJson: false };
    return { body: verbatimMember(text, object, 'body'), isJson: true };
  }
  if (hasBody) throw new InputProblem('both body and bodyBase64', { hint: 'Give one of them.' });
  const bytes = base64Bytes(bodyBase64);
  if (bytes === null) throw new InputProblem('bodyBase64 is not base64');
  return { body: bytes, isJson: false };
}

function headersOf({ headers }: PayloadLine, isJson: boolean): HeaderPair[] {
  const pairs = Array.isArray(headers)
    ? headers
    : Object.entries(headers ?? {}).flatMap(([name, values]) =>
        [values].flat().map((value): HeaderPair => [name, value]),
      );
  const named = headerValue(pairs, 'content-type') !== null;
  return isJson && !named ? [...pairs, ['Content-Type', 'application/json']] : pairs;
}
