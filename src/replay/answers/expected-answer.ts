import type { ExchangeRow } from '../../core/exchange.ts';
import { type PayloadApi, payloadApiOf, requestFeatures } from '../../inference/features.ts';

/** What is known of an answer before it comes; decided while planning, so that a sender needs no rules. */
export interface ExpectedAnswer {
  /** A JSON answer says how many tokens there were. */
  readonly counts: boolean;
  /** It is wanted piece by piece. */
  readonly streams: boolean;
  /** Its protocol says when a stream is finished. */
  readonly ends: boolean;
  /** How long after the send the recorded client left; null where it stayed, or is to stay. */
  readonly cancelAfterNs: number | null;
}

export const NOTHING_EXPECTED: ExpectedAnswer = Object.freeze({
  counts: false,
  streams: false,
  ends: false,
  cancelAfterNs: null,
});

/** What is done where the recorded client left before its answer was complete. */
export const CANCEL_POLICIES = ['replay', 'wait'] as const;
type CancelPolicy = (typeof CANCEL_POLICIES)[number];

/** Protocols whose answers count no tokens. */
const WITHOUT_TOKENS: ReadonlySet<PayloadApi> = new Set(['v1', 'v2']);
/** Requests whose streams are finished by an event of their own. */
const ENDING = /\/(?:chat\/completions|completions|responses|v1\/messages|api\/chat|api\/generate)$/;
/** Says of each planned request what its answer will be. */
export class AnswerForecast {
  readonly #cancels: CancelPolicy;
  /** Recorded clients that left without a sign of when: such a request is waited for. */
  untimedCancels = 0;

  constructor(cancels: CancelPolicy) {
    this.#cancels = cancels;
  }

  /** The same forecast, counted apart. */
  apart(): AnswerForecast {
    return new AnswerForecast(this.#cancels);
  }

  /** @param body as it will be sent; null for none */
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

  /** A client's patience is not scaled: it leaves when the recorded one did, whatever had been answered by then. */
  #cancelAfterNs(row: ExchangeRow): number | null {
    if (row.outcome !== 'client_aborted' || this.#cancels === 'wait') return null;
    if (row.clientLeftOffsetUs !== null) return row.clientLeftOffsetUs * 1_000;
    this.untimedCancels += 1;
    return null;
  }
}
