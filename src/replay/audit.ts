import type { MaskedParts } from './request-builder.ts';
import { SKIP_REASONS, type SkipReason } from './skip.ts';

/** What was not sent, or not sent as it was, and why. Everything is counted here, nothing altered in silence. */
export interface ReplayAudit {
  readonly skipped: Readonly<Record<SkipReason, number>>;
  /** Requests the HTTP client cannot send as they were. */
  readonly unreplayable: number;
  readonly unreplayableByReason: Readonly<Record<string, number>>;
  /** Requests sent without a header whose recorded value was masked, or without that of a `Host`, by header. */
  readonly maskedHeaders: Readonly<Record<string, number>>;
  /** Requests sent with a query value as masked, by key. */
  readonly maskedQueryKeys: Readonly<Record<string, number>>;
  /** Requests with any masked part. */
  readonly maskedRequests: number;
}

/** Distinct names kept apart; query keys are the clients' text and must not grow a run's memory. */
const MAX_NAMES = 200;

export class AuditCounter {
  readonly #skipped: Record<SkipReason, number> = Object.fromEntries(
    SKIP_REASONS.map((reason) => [reason, 0]),
  ) as Record<SkipReason, number>;
  readonly #unreplayable = new Map<string, number>();
  readonly #maskedHeaders = new Map<string, number>();
  readonly #maskedQueryKeys = new Map<string, number>();
  #maskedRequests = 0;

  skip(reason: SkipReason): void {
    this.#skipped[reason] += 1;
  }

  refuse(reason: string): void {
    count(this.#unreplayable, reason);
  }

  mask(parts: MaskedParts): void {
    if (parts.headers.length + parts.queryKeys.length + parts.bodyValues.length === 0) return;
    this.#maskedRequests += 1;
    for (const name of parts.headers) count(this.#maskedHeaders, name);
    for (const key of parts.queryKeys) count(this.#maskedQueryKeys, key);
  }

  /** Exchanges that have no send, for whatever reason. */
  total(): number {
    return sumOf(Object.values(this.#skipped)) + sumOf(this.#unreplayable.values());
  }

  report(): ReplayAudit {
    return {
      skipped: { ...this.#skipped },
      unreplayable: sumOf(this.#unreplayable.values()),
      unreplayableByReason: Object.fromEntries(this.#unreplayable),
      maskedHeaders: Object.fromEntries(this.#maskedHeaders),
      maskedQueryKeys: Object.fromEntries(this.#maskedQueryKeys),
      maskedRequests: this.#maskedRequests,
    };
  }
}

function count(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < MAX_NAMES ? name : '(others)';
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function sumOf(counts: Iterable<number>): number {
  let sum = 0;
  for (const each of counts) sum += each;
  return sum;
}
