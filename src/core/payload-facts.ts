/** Facts that come cheaply and with certainty from the outside of a payload, or from its first bytes. */

/** How much of a body is looked at for the model's name. */
const MODEL_SEARCH_BYTES = 4 * 1024;
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
 * within the first 4 KiB; otherwise null. Nested keys of that name, other types and cut strings do not count.
 * @param body UTF-8, not content-encoded.
 */
export function modelOfJson(body: Uint8Array): string | null {
  const prefix = Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, MODEL_SEARCH_BYTES));
  // As latin1 every byte is one character, so that a character cut at the end cannot shift anything.
  const text = prefix.toString('latin1');
  if (!/^\s*\{/.test(text) || !text.includes('"model"')) return null;
  // Strings (the last may be cut), brackets, and what stands between a key and its value; numbers and literals
  // are passed over.
  const token = /"(?:[^"\\]|\\.)*(?:"|\\?$)|[{}[\],:]/gs;
  let depth = 0;
  let before = '';
  let key = '';
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const found = match[0];
    if (token.lastIndex === text.length && found.startsWith('"')) return null;
    if (found === '{' || found === '[') depth += 1;
    else if (found === '}' || found === ']') depth -= 1;
    else if (depth === 1 && found === ':') key = before;
    else if (depth === 1 && key === '"model"' && before === ':') return unquoted(found);
    else if (found === ',') key = '';
    before = found;
  }
  return null;
}

function unquoted(literal: string): string | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(literal, 'latin1').toString('utf8'));
    return typeof value === 'string' && value !== '' ? value.slice(0, MODEL_CHARS) : null;
  } catch {
    // A control character or a bad escape: not JSON after all.
    return null;
  }
}
