import { type ExchangeRow, isBrokenOff } from '../../core/exchange.ts';
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

/** How the recorded length of an answer is requested: as the maximum, or with vLLM's fields also as the minimum. */
export const PIN_MODES = ['limit', 'vllm'] as const;
export type PinMode = (typeof PIN_MODES)[number];

export interface BodyChangeOptions {
  /** Null to let the model decide the length. */
  readonly pinOutputLength: PinMode | null;
  /** Whether to request token counts of streams. */
  readonly requestUsage: boolean;
}

export const NO_BODY_CHANGES: BodyChangeOptions = Object.freeze({
  pinOutputLength: null,
  requestUsage: false,
});

const COMPLETIONS = /\/(?:chat\/)?completions$/;

/**
 * Changes bodies of chats and completions as the user requested, and counts the changes. `Content-Length` is updated.
 */
export class BodyChanges {
  readonly #options: BodyChangeOptions;
  readonly #counts = { pinned: 0, unpinned: 0, usageRequested: 0 };

  constructor(options: BodyChangeOptions) {
    this.#options = options;
  }

  /** The same changes with separate counts. */
  apart(): BodyChanges {
    return new BodyChanges(this.#options);
  }

  /** Whether answers end at a pinned length, whatever ended the recorded ones. */
  get pinsLength(): boolean {
    return this.#options.pinOutputLength !== null;
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

/** The body with a pinned length; null if the length is unknown, or is the sum of several answers. */
function pin(body: Uint8Array, row: ExchangeRow, mode: PinMode): Buffer | null {
  const { outputTokens, batch } = row;
  // If the client left or the server stopped early, the recorded length is not the full length.
  if (outputTokens === null || outputTokens < 1 || isBrokenOff(row)) return null;
  // The recorder read only the beginning of the body, and an `n` may come later.
  if ((batch !== null && batch !== 1) || !asksOneAnswer(body)) return null;
  const limit = String(outputTokens);
  const members: [string, string][] = [[lengthName(body), limit]];
  if (mode === 'vllm') members.push(['min_tokens', limit], ['ignore_eos', 'true']);
  let changed: Uint8Array | null = body;
  for (const [name, literal] of members) changed = changed && withJsonMember(changed, [name], literal);
  return changed === null ? null : Buffer.from(changed);
}

/** The name that the body uses; if it uses none, the older name, which every server knows. */
function lengthName(body: Uint8Array): string {
  return jsonLastMember(body, jsonStart(body), 'max_completion_tokens') >= 0
    ? 'max_completion_tokens'
    : 'max_tokens';
}

/** The body with a request for token counts; null if it asks for no stream, or requests them already. */
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
 * Whether a chat or completion request asks for exactly one answer, from its complete body. The recorded token count is
 * the sum over all its answers. False if it is unclear.
 */
function asksOneAnswer(body: Uint8Array): boolean {
  const at = jsonStart(body);
  return isOnePrompt(body, at) && isOnce(body, at, 'n') && isOnce(body, at, 'best_of');
}

/** Whether the body has one prompt: a text, a list of tokens, or a list with one of these. */
function isOnePrompt(body: Uint8Array, at: number): boolean {
  const prompt = jsonLastMember(body, at, 'prompt');
  if (prompt < 0) return isJsonArray(body, jsonLastMember(body, at, 'messages'));
  if (!isJsonArray(body, prompt)) return isJsonString(body, prompt);
  const first = jsonElement(body, prompt, 0);
  if (isJsonString(body, first) || isJsonArray(body, first)) return jsonElement(body, prompt, 1) < 0;
  return jsonNumber(body, first) !== null;
}

/** Whether a number of answers is 1, which is also the default. */
function isOnce(body: Uint8Array, at: number, key: string): boolean {
  const wanted = jsonLastMember(body, at, key);
  if (wanted < 0 || jsonNumber(body, wanted) === 1) return true;
  return asBuffer(body).toString('latin1', wanted, wanted + 4) === 'null';
}
