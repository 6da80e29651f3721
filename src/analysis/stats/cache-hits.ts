import type { CacheFigures, ComparedHits } from '../../documents/parts.ts';
import { NamedGroups } from './tally.ts';

interface PromptCounts {
  readonly promptTokens?: number | null;
  readonly cachedTokens?: number | null | undefined;
}

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

  add(model: string | null, { promptTokens = null, cachedTokens = null }: PromptCounts): void {
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
    return sumOf(reporting.map((hits) => ({ ...hits, answers: hits.requests })));
  }
}

/** The hits of a run, and what was recorded of the same requests. */
export class ReplayedHits {
  readonly #sent = new CacheHits();
  readonly #recorded = new CacheHits();
  readonly #pairs = new NamedGroups(() => ({
    requests: 0,
    sent: new CacheHits(),
    recorded: new CacheHits(),
  }));

  add(model: string | null, sent: PromptCounts | null, recorded: PromptCounts | null): void {
    if (sent !== null) this.#sent.add(model, sent);
    if (recorded !== null) this.#recorded.add(model, recorded);
    if (sent?.promptTokens == null || recorded?.promptTokens == null) return;
    const pair = this.#pairs.groupOf(model);
    if (pair === null) return;
    pair.requests += 1;
    pair.sent.add(model, sent);
    pair.recorded.add(model, recorded);
  }

  /** Null if no answer of either side reports cached tokens. */
  figures(): ComparedHits | null {
    const [sent, recorded] = [this.#sent.figures(), this.#recorded.figures()];
    if (sent === null && recorded === null) return null;
    const reported = this.#pairs.ordered().flatMap(([, pair]) => {
      const [one, other] = [pair.sent.figures(), pair.recorded.figures()];
      return one === null || other === null ? [] : [{ sent: one, recorded: other }];
    });
    const ofSent = sumOf(reported.map((each) => each.sent));
    const ofRecorded = sumOf(reported.map((each) => each.recorded));
    const both = ofSent && ofRecorded && { sent: ofSent, recorded: ofRecorded };
    return { sent, recorded, both };
  }
}

/** Null without prompt tokens. */
export function sumOf(parts: readonly Omit<CacheFigures, 'share'>[]): CacheFigures | null {
  const sum = (of: 'answers' | 'promptTokens' | 'cachedTokens') =>
    parts.reduce((total, part) => total + part[of], 0);
  const [promptTokens, cachedTokens] = [sum('promptTokens'), sum('cachedTokens')];
  if (promptTokens === 0) return null;
  return { answers: sum('answers'), promptTokens, cachedTokens, share: cachedTokens / promptTokens };
}
