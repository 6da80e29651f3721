import type { ExchangePayload, ExchangeRow } from '../../../core/exchange.ts';
import { Histogram } from '../../../core/histogram.ts';
import type { PayloadFigures, PayloadKind } from '../../../documents/profile.ts';
import { distributionOf } from '../distribution.ts';
import { KindStatistics } from './kind-statistics.ts';
import { kindOf } from './payload-kind.ts';
import { readableRequest } from './readable-request.ts';

const TOKEN_ESTIMATE =
  'reported: as the server counted them; counted: sent as token ids; estimated: from the shapes of words, within a quarter of real vocabularies';

/**
 * Looks into payloads one by one, at constant memory. Never throws for what the bytes are; what cannot be read throws
 * as its reader does.
 */
export class PayloadStatistics {
  readonly #kinds = new Map<PayloadKind, KindStatistics>();
  readonly #unread = { not_stored: 0, no_body_kept: 0, truncated: 0, unreadable_coding: 0 };
  readonly #bodyBytes = new Histogram();
  #sampled = 0;
  #read = 0;
  #sayRetry = 0;

  /** `payload` is null where the capture holds none of the exchange. */
  add(row: ExchangeRow, payload: ExchangePayload | null): void {
    this.#sampled += 1;
    if (payload === null) {
      this.#unread.not_stored += 1;
      return;
    }
    const request = readableRequest(row, payload);
    if (typeof request === 'string') {
      this.#unread[request] += 1;
      return;
    }
    this.#read += 1;
    if (request.saysRetry) this.#sayRetry += 1;
    this.#bodyBytes.record(request.body.length);
    const kind = kindOf(request);
    let statistics = this.#kinds.get(kind);
    if (statistics === undefined) {
      statistics = new KindStatistics(kind);
      this.#kinds.set(kind, statistics);
    }
    statistics.add(request, payload);
  }

  figures(complete: boolean): PayloadFigures {
    return {
      sampled: this.#sampled,
      read: this.#read,
      complete,
      unread: { ...this.#unread },
      sayRetry: this.#sayRetry,
      bodyBytes: distributionOf(this.#bodyBytes),
      protocols: [...this.#kinds.values()]
        .map((kind) => kind.figures(this.#read))
        .sort((a, b) => b.requests - a.requests),
      tokenEstimate: TOKEN_ESTIMATE,
    };
  }
}
