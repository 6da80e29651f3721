import type { CacheFigures } from '../../documents/parts.ts';
import { NamedGroups } from './tally.ts';

/** The tokens of the prompts of one model, and of answers that report cached ones. */
class ModelHits {
  requests = 0;
  promptTokens = 0;
  cachedTokens = 0;
  /** Answers that report cached tokens, even none. */
  reports = 0;
}

/**
 * The share of prompt tokens that servers report to have read from their caches. Some servers leave the count out where
 * it is 0: so all answers count of a model that reports it once, and none of other models.
 */
export class CacheHits {
  readonly #models = new NamedGroups(() => new ModelHits());

  add(
    model: string | null,
    answer: { readonly promptTokens: number | null; readonly cachedTokens?: number | null },
  ): void {
    const { promptTokens, cachedTokens = null } = answer;
    if (promptTokens === null) return;
    const hits = this.#models.groupOf(model);
    if (hits === null) return;
    hits.requests += 1;
    hits.promptTokens += promptTokens;
    hits.cachedTokens += Math.min(promptTokens, cachedTokens ?? 0);
    if (cachedTokens !== null) hits.reports += 1;
  }

  /** Null if no answer reports cached tokens. */
  figures(): CacheFigures | null {
    const reporting = this.#models.ordered().flatMap(([, hits]) => (hits.reports > 0 ? [hits] : []));
    const sum = (of: 'requests' | 'promptTokens' | 'cachedTokens') =>
      reporting.reduce((total, hits) => total + hits[of], 0);
    const [promptTokens, cachedTokens] = [sum('promptTokens'), sum('cachedTokens')];
    if (promptTokens === 0) return null;
    return { answers: sum('requests'), promptTokens, cachedTokens, share: cachedTokens / promptTokens };
  }
}
