import type { AnswerCheck, SendAnswer } from '../../core/run.ts';

/** What a sender kept of an answer. Its bytes count as held until it was compared. */
export interface KeptAnswer {
  /** What the head says of the body, as sent. */
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** `Inference-Header-Content-Length`. */
  readonly inferenceHeaderLength: string | null;
  /** The whole body, content coding left. */
  readonly bytes: Uint8Array;
  /** Why there is nothing of it: it alone was too large, or all that were held together. */
  readonly dropped?: 'answer_too_large' | 'backlog' | null;
}

/** What a stream is compared by. */
export type StreamFacts = Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'>;

/** An answer on its way to be compared. Its status was found to be the recorded one. */
export interface AnswerToCheck {
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  /** Whether the recorded one came piece by piece. */
  readonly streamed: boolean;
  /** What was read of it as it came; of a stream they stand for its bytes, and `kept` is null. */
  readonly facts: StreamFacts | null;
  readonly kept: KeptAnswer | null;
}

/** To the checker: answers of one batch, in no order that matters. */
export interface ToChecker {
  readonly answers: readonly AnswerToCheck[];
}

export interface CheckedAnswer {
  readonly index: number;
  readonly check: AnswerCheck;
}

/** From the checker: of the same answers what they came to. */
export interface FromChecker {
  readonly checked: readonly CheckedAnswer[];
}

/** How much of answers may be held. Plain data: senders and the thread that reads count in the same memory. */
export interface KeepingSetup {
  /** Bytes that are held, 32 bits. */
  readonly taken: SharedArrayBuffer;
  readonly maxBytes: number;
  readonly maxAnswerBytes: number;
}
