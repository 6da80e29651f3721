import { jsonMember, jsonStart, jsonText } from './json-cursor.ts';

/** Facts that come cheaply and with certainty from the outside of a payload, or from its first bytes. */

/** How much of a body is looked at for the model's name. */
const MODEL_SEARCH_BYTES = 256 * 1024;
const MODEL_CHARS = 200;

/** Whether a response of this Content-Type came as an event stream. */
export function isEventStream(contentType: string | null): boolean {
  return contentType !== null && /^text\/event-stream\s*(?:;|$)/i.test(contentType);
}

/** Whether a response of this Content-Type is a JSON document a line. */
export function isJsonLines(contentType: string | null): boolean {
  return (
    contentType !== null &&
    /^application\/(?:(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines|json-seq)|stream\+json)\s*(?:;|$)/i.test(
      contentType,
    )
  );
}

/** Whether a message of this Content-Type is one JSON document. */
export function isJson(contentType: string | null): boolean {
  return contentType !== null && /^application\/(?:[a-z.-]+\+)?json\s*(?:;|$)/i.test(contentType);
}

/** Whether a body is sent as it is, under no content coding. */
export function isPlain(contentEncoding: string | null): boolean {
  return contentEncoding === null || /^\s*(?:identity)?\s*$/i.test(contentEncoding);
}

/**
 * The string under the top-level key `model` of a JSON object, as OpenAI-style requests have it, when it lies
 * within the first 256 KiB; otherwise null. Nested keys of that name, other types and cut strings do not count.
 * @param body UTF-8, not content-encoded.
 */
export function modelOfJson(body: Uint8Array): string | null {
  const prefix = Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, MODEL_SEARCH_BYTES));
  if (!prefix.includes('"model"')) return null;
  const model = jsonText(prefix, jsonMember(prefix, jsonStart(prefix), 'model'));
  return model === null || model === '' ? null : model.slice(0, MODEL_CHARS);
}
