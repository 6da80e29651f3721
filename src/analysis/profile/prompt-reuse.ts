import type { ExchangeRow } from '../../core/exchange.ts';
import type { ReuseFigures } from '../../documents/profile.ts';
import { generatesText } from '../../inference/features.ts';
import { PromptPrefixes, promptTextOf, TOKEN_BYTES } from '../../inference/prompt-prefixes.ts';
import { CacheHits } from '../stats/cache-hits.ts';
import type { ReadableRequest } from './payload-contents.ts';

/**
 * How much of the prompts a cache of prefixes could have reused, and what the server reports to have reused. Memory is
 * bounded. The bound is that of a cache without a limit, which stores a prompt when it arrives.
 */
export class ReuseStatistics {
  readonly #prefixes = new PromptPrefixes();
  readonly #hits = new CacheHits();
  #prompts = 0;
  #tokens = 0;
  #reusable = 0;
  #beyondLimit = 0;

  /** @param request null if it was not examined, or could not be read */
  add(row: ExchangeRow, request: ReadableRequest | null): void {
    this.#hits.add(row.model, row);
    if (request === null || !generatesText(row.route)) return;
    const { json } = request;
    if (typeof json !== 'object' || json === null || Array.isArray(json)) return;
    const text = promptTextOf(json as Readonly<Record<string, unknown>>);
    if (text === null) return;
    const bytes = Buffer.from(text);
    const known = this.#prefixes.add(row.model ?? '', bytes);
    if (known === null) {
      this.#beyondLimit += 1;
      return;
    }
    const size = Math.max(1, Math.ceil(bytes.length / TOKEN_BYTES));
    const tokens = row.promptTokens ?? size;
    this.#prompts += 1;
    this.#tokens += tokens;
    // Tokens that the server did reuse were reusable, because of prompts before the window or of another tokenizer.
    this.#reusable += Math.min(tokens, Math.max(Math.ceil((known / size) * tokens), row.cachedTokens ?? 0));
  }

  /**
   * Nothing if there is no prompt, and none is reported.
   * @param complete whether every payload was examined: a part of the prompts gives no upper bound
   */
  figures(complete: boolean): { readonly reuse?: ReuseFigures } {
    const reported = this.#hits.figures();
    if (this.#prompts + this.#beyondLimit === 0 && reported === null) return {};
    const isKnown = complete && this.#tokens > 0;
    return {
      reuse: {
        prompts: this.#prompts,
        tokens: this.#tokens,
        upperBound: isKnown ? this.#reusable / this.#tokens : null,
        beyondLimit: this.#beyondLimit,
        reported,
      },
    };
  }
}
