import type { ExchangeRow } from '../../core/exchange.ts';
import {
  asBuffer,
  isJsonArray,
  isJsonObject,
  isJsonString,
  jsonElement,
  jsonLastMember,
  jsonNumber,
  jsonStart,
  jsonTrue,
} from '../../core/json-cursor.ts';
import type { BodyChangeCounts } from '../../documents/replay.ts';
import { isPlain } from '../../inference/features.ts';
import { type BuiltRequest, flatValue } from './build.ts';
import { withJsonMember } from './edit-json.ts';

/** How the recorded length of an answer is asked for: as its most, or by vLLM's fields as its least as well. */
export const PIN_MODES = ['limit', 'vllm'] as const;
export type PinMode = (typeof PIN_MODES)[number];

export interface BodyChangeOptions {
  /** Null leaves lengths to the model. */
  readonly pinOutputLength: PinMode | null;
  /** Asks streams for their counts of tokens. */
  readonly requestUsage: boolean;
}

export const NO_BODY_CHANGES: BodyChangeOptions = Object.freeze({
  pinOutputLength: null,
  requestUsage: false,
});

const COMPLETIONS = /\/(?:chat\/)?completions$/;

/** Changes bodies of chat and completions where a user asked for it, and counts where it did. Lengths of messages are written anew. */
export class BodyChanges {
  readonly #options: BodyChangeOptions;
  readonly #counts = { pinned: 0, unpinned: 0, usageRequested: 0 };

  constructor(options: BodyChangeOptions) {
    this.#options = options;
  }

  /** The same changes, counted apart. */
  apart(): BodyChanges {
    return new BodyChanges(this.#options);
  }

  apply(row: ExchangeRow, request: BuiltRequest): BuiltRequest {
    const { pinOutputLength, requestUsage } = this.#options;
    if (pinOutputLength === null && !requestUsage) return request;
    if (row.route === null || !COMPLETIONS.test(row.route)) return request;
    const isReadable = isPlain(flatValue(request.headers, 'content-encoding'));
    const recorded = isReadable ? request.body : null;
    let body = recorded;
    if (pinOutputLength !== null) {
      const pinned = body === null ? null : pin(body, row, pinOutputLength);
      if (pinned === null) this.#counts.unpinned += 1;
      else this.#counts.pinned += 1;
      body = pinned ?? body;
    }
    if (requestUsage && body !== null) {
      const asking = askUsage(body);
      if (asking !== null) this.#counts.usageRequested += 1;
      body = asking ?? body;
    }
    return body === recorded ? request : { ...request, body };
  }

  counts(): BodyChangeCounts {
    const { pinOutputLength, requestUsage } = this.#options;
    return { pinOutputLength, requestUsage, ...this.#counts };
  }
}

/** Null where the length is not known, or not that of one answer. */
function pin(body: Uint8Array, row: ExchangeRow, mode: PinMode): Buffer | null {
  const { outputTokens, batch } = row;
  // A client that left, or a server that broke off, did not let the answer come to its length.
  if (outputTokens === null || outputTokens < 1 || row.outcome !== 'completed') return null;
  // The recorder read the beginning alone, and an `n` may lie behind it.
  if ((batch !== null && batch !== 1) || !asksOneAnswer(body)) return null;
  const limit = String(outputTokens);
  const members: [string, string][] = [[lengthName(body), limit]];
  if (mode === 'vllm') members.push(['min_tokens', limit], ['ignore_eos', 'true']);
  let changed: Uint8Array | null = body;
  for (const [name, literal] of members) changed = changed && withJsonMember(changed, [name], literal);
  return changed === null ? null : Buffer.from(changed);
}

/** The name that the body uses; the older one, which every server knows, where it uses none. */
function lengthName(body: Uint8Array): string {
  return jsonLastMember(body, jsonStart(body), 'max_completion_tokens') >= 0
    ? 'max_completion_tokens'
    : 'max_tokens';
}

/** Null where it is no stream, or asks already. */
function askUsage(body: Uint8Array): Buffer | null {
  const start = jsonStart(body);
  if (!jsonTrue(body, jsonLastMember(body, start, 'stream'))) return null;
  const options = jsonLastMember(body, start, 'stream_options');
  if (jsonTrue(body, jsonLastMember(body, options, 'include_usage'))) return null;
  return isJsonObject(body, options)
    ? withJsonMember(body, ['stream_options', 'include_usage'], 'true')
    : withJsonMember(body, ['stream_options'], '{"include_usage":true}');
}

/**
 * Whether a request for chat or completions asks for one answer, read from the whole of it: the recorded count of
 * tokens is that of all its answers together. What cannot be told is none.
 */
function asksOneAnswer(body: Uint8Array): boolean {
  const at = jsonStart(body);
  return isOnePrompt(body, at) && isOnce(body, at, 'n') && isOnce(body, at, 'best_of');
}

/** A text or a list of tokens is one prompt; of a list of those, more than one are several. */
function isOnePrompt(body: Uint8Array, at: number): boolean {
  const prompt = jsonLastMember(body, at, 'prompt');
  if (prompt < 0) return isJsonArray(body, jsonLastMember(body, at, 'messages'));
  if (!isJsonArray(body, prompt)) return isJsonString(body, prompt);
  const first = jsonElement(body, prompt, 0);
  if (isJsonString(body, first) || isJsonArray(body, first)) return jsonElement(body, prompt, 1) < 0;
  return jsonNumber(body, first) !== null;
}

/** How many answers to each prompt are made: one, where nothing is said. */
function isOnce(body: Uint8Array, at: number, key: string): boolean {
  const wanted = jsonLastMember(body, at, key);
  if (wanted < 0 || jsonNumber(body, wanted) === 1) return true;
  return asBuffer(body).toString('latin1', wanted, wanted + 4) === 'null';
}
