import { ASCII } from '../core/ascii.ts';
import type { FinishReason } from '../core/exchange.ts';
import { jsonStart } from '../core/json-cursor.ts';

/** Finish reasons of servers, mapped to ours. */
const FINISHES: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  STOP: 'stop',
  eos: 'stop',
  eos_token: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  word: 'stop',
  length: 'length',
  limit: 'length',
  max_tokens: 'length',
  MAX_TOKENS: 'length',
  max_output_tokens: 'length',
  tool_calls: 'tool_calls',
  function_call: 'tool_calls',
  tool_use: 'tool_calls',
  content_filter: 'content_filter',
  refusal: 'content_filter',
  SAFETY: 'content_filter',
  PROHIBITED_CONTENT: 'content_filter',
  BLOCKLIST: 'content_filter',
  SPII: 'content_filter',
  content_filtered: 'content_filter',
  guardrail_intervened: 'content_filter',
};

/** Members that state it, most common first: OpenAI and TGI, Anthropic, Ollama, Gemini, llama.cpp. */
const NAMES = ['"finish_reason"', '"stop_reason"', '"done_reason"', '"finishReason"', '"stop_type"'] as const;
/** Most occurrences of a member to check: streams repeat it as null in every event. */
const TRIES = 32;
/** Reasons are shorter. */
const REASON_BYTES = 64;

/** Our name for a reason; null without one. */
export function finishReasonOf(reason: unknown): FinishReason | null {
  if (typeof reason !== 'string' || reason === '') return null;
  return Object.hasOwn(FINISHES, reason) ? (FINISHES[reason] ?? 'other') : 'other';
}

/**
 * The last finish reason in a piece of an answer; null if it states none. The piece may begin anywhere. Inside a string,
 * quotes are escaped, so text that looks like a reason does not match.
 */
export function finishReasonIn(bytes: Uint8Array): FinishReason | null {
  const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const name of NAMES) {
    let at = piece.length;
    for (let tries = 0; tries < TRIES && at > 0; tries += 1) {
      at = piece.lastIndexOf(name, at - 1, 'latin1');
      if (at < 0) break;
      const reason = textAfter(piece, at + name.length);
      if (reason !== null) return finishReasonOf(reason);
    }
  }
  return null;
}

/** The text that is the value of the key before `at`; null if it is another value. */
function textAfter(piece: Buffer, at: number): string | null {
  const colon = jsonStart(piece, at);
  if (piece[colon] !== ASCII.COLON) return null;
  const start = jsonStart(piece, colon + 1);
  if (piece[start] !== ASCII.QUOTE) return null;
  const end = piece.indexOf(ASCII.QUOTE, start + 1);
  return end < 0 || end - start > REASON_BYTES ? null : piece.toString('latin1', start + 1, end);
}
