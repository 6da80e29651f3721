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
  jsonTrue,
} from './json-cursor.ts';
import type { PayloadApi } from './payload-api.ts';
import { fieldOf } from './privacy/multipart-form.ts';

/** How much of a request is read for facts. What lies behind is not known; counting on would cost as it is long. */
export const FACT_BYTES = 256 * 1024;

/** Longest names of a model that are kept. */
const MODEL_CHARS = 200;

/** What a request's body says of the work it asks for; null where it does not say. */
export interface RequestFeatures {
  /** Sequences, instances or rows that are asked for at once. */
  readonly batch: number | null;
  /** Whether the answer is wanted piece by piece. */
  readonly stream: boolean;
}

const NOTHING: RequestFeatures = Object.freeze({ batch: null, stream: false });

/**
 * Reads the features of a request. Pure, and never throwing, whatever the bytes.
 * @param body its beginning, not content-encoded; of Triton's binary form the JSON before the tensors
 * @param whole false where there is more of it than was handed in
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
 * The model that a multipart form names, as uploads to OpenAI's API have it.
 * @param body its beginning, not content-encoded
 */
export function modelOfForm(body: Uint8Array, contentType: string): string | null {
  return fieldOf(beginning(body), contentType, 'model', MODEL_CHARS) || null;
}

/** V2's inputs have the batch as their first dimension; all have the same. */
function firstDimension(text: Buffer, at: number): number | null {
  const input = jsonElement(text, jsonMember(text, at, 'inputs'), 0);
  const first = jsonElement(text, jsonMember(text, input, 'shape'), 0);
  const rows = jsonNumber(text, first);
  return rows !== null && Number.isSafeInteger(rows) && rows >= 0 ? rows : null;
}

/** The answers wanted for each prompt (`n`); null where it may stand behind what was read. */
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
    // Texts or lists of tokens are a prompt each; tokens, or the items of one conversation, are one together.
    if (isJsonString(text, first) || isJsonArray(text, first)) return known(jsonLength(text, prompt));
    return first < 0 ? null : 1;
  }
  return null;
}

const PROMPT_KEYS = ['prompt', 'input', 'inputs', 'text_input', 'documents'] as const;

/** A look-up that costs little where the name does not occur at all. */
function memberIfNamed(text: Buffer, at: number, key: string, quoted: string): number {
  return text.includes(quoted) ? jsonMember(text, at, key) : -1;
}

function known(length: number): number | null {
  return length < 0 ? null : length;
}

function beginning(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, FACT_BYTES));
}
