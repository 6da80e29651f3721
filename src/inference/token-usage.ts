import { ASCII } from '../core/ascii.ts';
import { isJsonObject, jsonMember, jsonNumber, jsonStart } from '../core/json-cursor.ts';

/** Token counts reported by a server; null if not reported. */
export interface TokenUsage {
  readonly promptTokens: number | null;
  /** Tokens of the prompt that the server had in its cache, and did not process again. */
  readonly cachedTokens: number | null;
  readonly outputTokens: number | null;
}

export const NO_USAGE: TokenUsage = Object.freeze({
  promptTokens: null,
  cachedTokens: null,
  outputTokens: null,
});

/** Objects that contain the counts, most common first. */
const HOLDERS = ['"usage"', '"details"', '"usageMetadata"'] as const;

/** These names count the whole prompt, cached or not. */
const PROMPT_NAMES = ['prompt_tokens', 'input_length', 'promptTokenCount'] as const;
/** Read from or written to a cache: parts of the prompt that `input_tokens` does not count. */
const CACHED_NAMES = ['cache_read_input_tokens', 'cache_creation_input_tokens'] as const;
/** Read from a cache, by their own name or in an object with details of the prompt. */
const HIT_NAMES = ['cache_read_input_tokens', 'cachedContentTokenCount', 'prompt_cache_hit_tokens'] as const;
const DETAILS = ['prompt_tokens_details', 'input_tokens_details'] as const;
const OUTPUT_NAMES = [
  'completion_tokens',
  'output_tokens',
  'generated_tokens',
  'candidatesTokenCount',
] as const;

/** Counts at the top level of the answer, as in Ollama and llama.cpp. */
const PLAIN_PROMPT_NAMES = ['prompt_eval_count', 'tokens_evaluated'] as const;
const PLAIN_OUTPUT_NAMES = ['eval_count', 'tokens_predicted'] as const;

/** Anthropic's first event: it has the prompt count, and a placeholder for the output count. */
export const MESSAGE_START = '"message_start"';

const { LF, CR, COLON } = ASCII;
/** Most occurrences of a holder to check: streams repeat theirs in every event. */
const TRIES = 32;

/**
 * The last counts in a piece of an answer: its end, or one of its events. The piece may begin anywhere.
 * Inside a string, text that looks like a count is escaped and does not match.
 */
export function usageIn(piece: Uint8Array): TokenUsage {
  const text = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
  for (const holder of HOLDERS) {
    const found = lastHeld(text, holder);
    if (found !== null) return found;
  }
  const promptTokens = lastPlain(text, PLAIN_PROMPT_NAMES);
  const outputTokens = lastPlain(text, PLAIN_OUTPUT_NAMES);
  if (promptTokens === null && outputTokens === null) return NO_USAGE;
  return { promptTokens, cachedTokens: null, outputTokens };
}

/** The later counts; where those are null, the earlier ones. */
export function laterUsage(earlier: TokenUsage, later: TokenUsage): TokenUsage {
  return {
    promptTokens: later.promptTokens ?? earlier.promptTokens,
    cachedTokens: later.cachedTokens ?? earlier.cachedTokens,
    outputTokens: later.outputTokens ?? earlier.outputTokens,
  };
}

function lastHeld(text: Buffer, holder: string): TokenUsage | null {
  let at = text.length;
  for (let tries = 0; tries < TRIES && at > 0; tries += 1) {
    at = text.lastIndexOf(holder, at - 1, 'latin1');
    if (at < 0) return null;
    const value = valueAfter(text, at + holder.length);
    if (!isJsonObject(text, value)) continue;
    const promptTokens = firstCount(text, value, PROMPT_NAMES) ?? uncachedWithCached(text, value);
    const outputTokens = isOfStart(text, at) ? null : firstCount(text, value, OUTPUT_NAMES);
    if (promptTokens === null && outputTokens === null) continue;
    return { promptTokens, cachedTokens: cachedIn(text, value), outputTokens };
  }
  return null;
}

/** The prompt count from Anthropic's three parts. */
function uncachedWithCached(text: Buffer, usage: number): number | null {
  let promptTokens = countAt(text, jsonMember(text, usage, 'input_tokens'));
  if (promptTokens === null) return null;
  for (const name of CACHED_NAMES) promptTokens += countAt(text, jsonMember(text, usage, name)) ?? 0;
  return promptTokens;
}

function cachedIn(text: Buffer, usage: number): number | null {
  for (const name of DETAILS) {
    const details = jsonMember(text, usage, name);
    const count = isJsonObject(text, details)
      ? countAt(text, jsonMember(text, details, 'cached_tokens'))
      : null;
    if (count !== null) return count;
  }
  return firstCount(text, usage, HIT_NAMES);
}

/** Whether the position is in the event that begins a message: an event has one line. */
function isOfStart(text: Buffer, at: number): boolean {
  const start = text.lastIndexOf(MESSAGE_START, undefined, 'latin1');
  if (start < 0) return false;
  const between = text.subarray(Math.min(start, at), Math.max(start, at));
  return !between.includes(LF) && !between.includes(CR);
}

function lastPlain(text: Buffer, names: readonly string[]): number | null {
  for (const name of names) {
    const at = text.lastIndexOf(`"${name}"`, undefined, 'latin1');
    const count = at < 0 ? null : countAt(text, valueAfter(text, at + name.length + 2));
    if (count !== null) return count;
  }
  return null;
}

function firstCount(text: Buffer, object: number, names: readonly string[]): number | null {
  for (const name of names) {
    const count = countAt(text, jsonMember(text, object, name));
    if (count !== null) return count;
  }
  return null;
}

/** Position of the value of the key that ends before `at`; -1 if it is no key. */
function valueAfter(text: Buffer, at: number): number {
  const colon = jsonStart(text, at);
  return text[colon] === COLON ? jsonStart(text, colon + 1) : -1;
}

function countAt(text: Buffer, at: number): number | null {
  const count = jsonNumber(text, at);
  return count !== null && Number.isSafeInteger(count) && count >= 0 ? count : null;
}
