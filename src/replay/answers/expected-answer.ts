import type { ExchangeRow } from '../../core/exchange.ts';
import { type PayloadApi, payloadApiOf, requestFeatures } from '../../inference/features.ts';

/** Facts about an answer that are decided while planning, so that a sender needs no rules. */
export interface ExpectedAnswer {
  /** Whether a JSON answer has token counts. */
  readonly counts: boolean;
  /** Whether a streamed answer is wanted. */
  readonly streams: boolean;
  /** Whether its protocol marks the end of a stream. */
  readonly ends: boolean;
  /** How long after the send the recorded client left; null if it stayed, or if its leaving is ignored. */
  readonly cancelAfterNs: number | null;
}

export const NOTHING_EXPECTED: ExpectedAnswer = Object.freeze({
  counts: false,
  streams: false,
  ends: false,
  cancelAfterNs: null,
});

/**
 * What to do if the recorded client left before its answer was complete. `begun`: leave as it did only if its answer had
 * begun, otherwise wait.
 */
export const CANCEL_POLICIES = ['replay', 'begun', 'wait'] as const;
export type CancelPolicy = (typeof CANCEL_POLICIES)[number];

/** Protocols without token counts in their answers. */
const WITHOUT_TOKENS: ReadonlySet<PayloadApi> = new Set(['v1', 'v2']);
/** Requests whose streams have an explicit end event. */
const ENDING = /\/(?:chat\/completions|completions|responses|v1\/messages|api\/chat|api\/generate)$/;
/** Predicts the answer of each planned request. */
export class AnswerForecast {
  readonly #cancels: CancelPolicy;
  /** Number of recorded clients that left at an unknown time. Their requests are waited for. */
  untimedCancels = 0;

  constructor(cancels: CancelPolicy) {
    this.#cancels = cancels;
  }

  /** The same forecast with a separate count. */
  apart(): AnswerForecast {
    return new AnswerForecast(this.#cancels);
  }

  /** @param body body as sent; null for none */
  of(row: ExchangeRow, body: Uint8Array | null): ExpectedAnswer {
    const { route } = row;
    const api = route === null ? null : payloadApiOf({ route, model: null });
    const counts = api !== null && !WITHOUT_TOKENS.has(api);
    const asks = (): boolean => counts && body !== null && requestFeatures(api, body).stream;
    const streams = row.streamed ?? asks();
    const cancelAfterNs = this.#cancelAfterNs(row);
    if (!counts && !streams && cancelAfterNs === null) return NOTHING_EXPECTED;
    return { counts, streams, ends: route !== null && ENDING.test(route), cancelAfterNs };
  }

  /**
   * The waiting time of a client is not scaled. It leaves after the same time as the recorded client, regardless of the
   * answer so far.
   */
  #cancelAfterNs(row: ExchangeRow): number | null {
    if (row.outcome !== 'client_aborted' || this.#cancels === 'wait') return null;
    if (this.#cancels === 'begun' && row.firstByteOffsetUs === null) return null;
    if (row.clientLeftOffsetUs !== null) return row.clientLeftOffsetUs * 1_000;
    this.untimedCancels += 1;
    return null;
  }
}
