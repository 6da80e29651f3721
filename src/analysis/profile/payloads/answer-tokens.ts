import { decodeContent } from '../../../core/content-coding.ts';
import { UnreadableBody } from '../../../core/errors.ts';
import type { ExchangePayload } from '../../../core/exchange.ts';
import { headerPairsOf } from '../../../core/headers.ts';
import { isEventStream, isJson, isJsonLines } from '../../../inference/features.ts';
import { EventData } from '../../../inference/stream-events.ts';
import { estimatedTokens } from './prompt.ts';
import { member } from './readable-request.ts';

const MAX_ANSWER_BYTES = 1024 * 1024;
const MAX_DEPTH = 6;
/** Where answers of all forms keep their text. */
const TEXT_KEYS = [
  'choices',
  'message',
  'delta',
  'content',
  'text',
  'output',
  'text_output',
  'generated_text',
  'response',
  'token',
];

/** About how many tokens an answer has, from its text; null where none was kept, or it has no text. */
export function answerTokens({ response }: ExchangePayload): number | null {
  const kept = response?.body.kept;
  if (response === null || kept == null || response.body.truncated || kept.length > MAX_ANSWER_BYTES)
    return null;
  const headers = new Map(headerPairsOf(response.head).map(([name, value]) => [name.toLowerCase(), value]));
  const contentType = headers.get('content-type') ?? null;
  let bytes: Uint8Array;
  try {
    bytes = decodeContent(kept, headers.get('content-encoding') ?? null).bytes;
  } catch (error) {
    if (!(error instanceof UnreadableBody)) throw error;
    return null;
  }
  const texts: string[] = [];
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isJson(contentType)) addTexts(body.toString('utf8'), texts);
  else if (isEventStream(contentType) || isJsonLines(contentType)) {
    const events = new EventData(isEventStream(contentType) ? 'events' : 'lines', (data) =>
      addTexts(data, texts),
    );
    events.write(body);
    events.end();
  }
  // A stream's pieces are parts of words: estimated together, not one by one.
  const tokens = estimatedTokens(texts.join(''));
  return tokens === 0 ? null : Math.max(1, Math.round(tokens));
}

function addTexts(data: string, texts: string[]): void {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return;
  }
  collect(value, texts, 0);
}

function collect(value: unknown, texts: string[], depth: number): void {
  if (depth > MAX_DEPTH) return;
  if (typeof value === 'string') texts.push(value);
  else if (Array.isArray(value)) for (const each of value) collect(each, texts, depth + 1);
  else if (typeof value === 'object' && value !== null) {
    for (const key of TEXT_KEYS) {
      const inner = member(value, key);
      // A string at the top is text only under a key that says so; `delta` of an event may be one.
      if (inner !== undefined) collect(inner, texts, depth + 1);
    }
  }
}
