import {
  isJsonArray,
  isJsonObject,
  isJsonString,
  jsonElement,
  jsonEnd,
  jsonLength,
  jsonMember,
  jsonNumber,
  jsonStart,
  jsonText,
  jsonTrue,
} from '../core/json-cursor.ts';
import { fieldOf } from '../core/multipart.ts';
import type { Route } from '../core/routes.ts';

/**
 * How much of a request is read for features. Later ones are unknown, because reading costs time per byte.
 */
export const FACT_BYTES = 256 * 1024;

/** Longest model name that is kept. */
const MODEL_CHARS = 200;

/** Features of a request from its body; null if the body does not say. */
export interface RequestFeatures {
  /** Sequences, instances or rows in one request. */
  readonly batch: number | null;
  /** Whether a streamed answer is requested. */
  readonly stream: boolean;
}

const NOTHING: RequestFeatures = Object.freeze({ batch: null, stream: false });

/**
 * Reads the features of a request. Pure; never throws.
 * @param body its start, not content-encoded; for Triton's binary form the JSON before the tensors
 * @param whole false if the body continues
 */
export function requestFeatures(api: PayloadApi | null, body: Uint8Array, whole = true): RequestFeatures {
  if (api === null) return NOTHING;
  const text = beginning(body);
  const at = jsonStart(text);
  if (!isJsonObject(text, at)) return NOTHING;
  if (api === 'v1')
    return { batch: known(jsonLength(text, jsonMember(text, at, 'instances'))), stream: false };
  if (api === 'v2') return { batch: firstDimension(text, at), stream: false };
  const stream = memberIfNamed(text, at, 'stream', '"stream"');
  const prompts = promptsOf(text, at);
  if (api !== 'openai' || prompts === null) return { batch: prompts, stream: jsonTrue(text, stream) };
  const wanted = answersWanted(text, at, whole && text.length === body.length);
  return { batch: wanted === null ? null : prompts * wanted, stream: jsonTrue(text, stream) };
}

/**
 * The model named in a multipart form, as in uploads to OpenAI's API.
 * @param body its start, not content-encoded
 */
export function modelOfForm(body: Uint8Array, contentType: string): string | null {
  return fieldOf(beginning(body), contentType, 'model', MODEL_CHARS) || null;
}

/** V2's inputs have the batch as their first dimension; all have the same one. */
function firstDimension(text: Buffer, at: number): number | null {
  const input = jsonElement(text, jsonMember(text, at, 'inputs'), 0);
  const first = jsonElement(text, jsonMember(text, input, 'shape'), 0);
  const rows = jsonNumber(text, first);
  return rows !== null && Number.isSafeInteger(rows) && rows >= 0 ? rows : null;
}

/** Requested answers per prompt (`n`); null if it may come after what was read. */
function answersWanted(text: Buffer, at: number, whole: boolean): number | null {
  const wanted = jsonNumber(text, memberIfNamed(text, at, 'n', '"n"'));
  if (wanted !== null && Number.isSafeInteger(wanted) && wanted > 0) return wanted;
  return whole || jsonEnd(text, at) >= 0 ? 1 : null;
}

function promptsOf(text: Buffer, at: number): number | null {
  if (memberIfNamed(text, at, 'messages', '"messages"') >= 0) return 1;
  for (const key of PROMPT_KEYS) {
    const prompt = memberIfNamed(text, at, key, `"${key}"`);
    if (prompt < 0) continue;
    if (!isJsonArray(text, prompt)) return isJsonString(text, prompt) ? 1 : null;
    const first = jsonElement(text, prompt, 0);
    // Texts or lists of tokens are one prompt each. Tokens, or items of a conversation, are one prompt
    // together.
    if (isJsonString(text, first) || isJsonArray(text, first)) return known(jsonLength(text, prompt));
    return first < 0 ? null : 1;
  }
  return null;
}

const PROMPT_KEYS = ['prompt', 'input', 'inputs', 'text_input', 'documents'] as const;

/** A look-up that is cheap if the name does not occur at all. */
function memberIfNamed(text: Buffer, at: number, key: string, quoted: string): number {
  return text.includes(quoted) ? jsonMember(text, at, key) : -1;
}

function known(length: number): number | null {
  return length < 0 ? null : length;
}

function beginning(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, FACT_BYTES));
}

export function isEventStream(contentType: string | null): boolean {
  return contentType !== null && /^text\/event-stream\s*(?:;|$)/i.test(contentType);
}

/** Whether a response with this Content-Type has one JSON document per line. */
export function isJsonLines(contentType: string | null): boolean {
  return (
    contentType !== null &&
    /^application\/(?:(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines|json-seq)|stream\+json)\s*(?:;|$)/i.test(
      contentType,
    )
  );
}

/** Whether a message with this Content-Type is one JSON document. */
export function isJson(contentType: string | null): boolean {
  return contentType !== null && /^application\/(?:[a-z.-]+\+)?json\s*(?:;|$)/i.test(contentType);
}

/** Whether a complete body is declared as JSON. Triton may add binary tensors after the JSON. */
export function isAllJson({
  contentType,
  inferenceHeaderLength = null,
}: {
  readonly contentType: string | null;
  readonly inferenceHeaderLength?: string | null;
}): boolean {
  return isJson(contentType) && inferenceHeaderLength === null;
}

/**
 * Whether an answer must be JSON: by its own type, or because it came as a page to a request in JSON. Such a page is
 * that of a proxy, to sign in or to be patient.
 */
export function mustBeJson(
  answer: Parameters<typeof isAllJson>[0],
  requestType: () => string | null,
): boolean {
  const isPage = /^text\/html\s*(?:;|$)/i.test(answer.contentType ?? '');
  return isPage ? isJson(requestType()) : isAllJson(answer);
}

/** Whether a body has no content coding. */
export function isPlain(contentEncoding: string | null): boolean {
  return contentEncoding === null || /^\s*(?:identity)?\s*$/i.test(contentEncoding);
}

/**
 * The string at the top-level key `model` of a JSON object, as in OpenAI-style requests. Null if it is not
 * within the first 256 KiB. Nested keys, other types and truncated strings do not count.
 * @param body UTF-8, not content-encoded
 */
export function modelOfJson(body: Uint8Array): string | null {
  const prefix = beginning(body);
  if (!prefix.includes('"model"')) return null;
  const model = jsonText(prefix, jsonMember(prefix, jsonStart(prefix), 'model'));
  return model === null || model === '' ? null : model.slice(0, MODEL_CHARS);
}

/** The known inference APIs, recognised by route. */
export type PayloadApi =
  /** OpenAI's chat, completions, embeddings and responses, also served by vLLM, TGI and KServe. */
  | 'openai'
  /** Anthropic's messages. */
  | 'anthropic'
  /** Ollama's generate and chat. */
  | 'ollama'
  /** The generate endpoints of TGI, Triton and llama.cpp. */
  | 'generate'
  /** `:predict` of TensorFlow Serving and KServe. */
  | 'v1'
  /** The Open Inference Protocol. */
  | 'v2';

const ENDINGS: readonly (readonly [RegExp, PayloadApi])[] = [
  [/^POST \/inference\.GRPCInferenceService\/Model(?:Stream)?Infer$/, 'v2'],
  [/^POST \/tensorflow\.serving\.PredictionService\/(?:Predict|Classify|Regress|MultiInference)$/, 'v1'],
  [/\/v2\/models\/\{model\}(?:\/versions\/\{version\})?\/infer$/, 'v2'],
  [/\/v2\/models\/\{model\}(?:\/versions\/\{version\})?\/generate(?:_stream)?$/, 'generate'],
  [
    /\/v1\/models\/\{model\}(?:\/(?:versions|labels)\/\{version\})?:(?:predict|explain|classify|regress)$/,
    'v1',
  ],
  [/\/v1\/messages$/, 'anthropic'],
  [/\/api\/(?:chat|generate|embed|embeddings)$/, 'ollama'],
  [
    /\/(?:chat\/completions|completions|embeddings|responses|rerank|score|classify|audio\/[a-z]+|images\/[a-z]+)$/,
    'openai',
  ],
  [/^[A-Z]+ \/(?:generate|generate_stream|completion|invocations)$/, 'generate'],
];

const KNOWN = new WeakMap<Route, { readonly api: PayloadApi | null }>();

/** The API of a route; null if unknown. Cached with the route. */
export function payloadApiOf(route: Route): PayloadApi | null {
  let known = KNOWN.get(route);
  if (known === undefined) {
    known = { api: ENDINGS.find(([ending]) => ending.test(route.route))?.[1] ?? null };
    KNOWN.set(route, known);
  }
  return known.api;
}

/** Routes whose answers are generated text. */
const GENERATING =
  /\/(?:chat\/completions|completions|responses|v1\/messages|api\/chat|api\/generate|generate|generate_stream|completion|invocations)$/;

/** Whether the answers of a route are generated text: two samples may differ, and both are right. */
export function generatesText(route: string | null): boolean {
  return route !== null && GENERATING.test(route);
}
