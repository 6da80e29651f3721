import type { SendAnswer } from '../../core/run.ts';

/** What the head of an answer says of its body, as sent. */
export interface AnswerForm {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** `Inference-Header-Content-Length`. */
  readonly inferenceHeaderLength: string | null;
}

/** What a sender kept of an answer, in slabs that stay taken until it was compared. */
export interface HeldAnswer extends AnswerForm {
  readonly index: number;
  readonly slabs: readonly number[];
  /** Bytes of its body, content coding left. */
  readonly length: number;
  /** Why there is nothing of it: it alone was too large, or all that were held together. */
  readonly dropped: 'answer_too_large' | 'backlog' | null;
}

/** A whole answer. */
export interface KeptAnswer extends AnswerForm {
  readonly bytes: Uint8Array;
}

/** An answer on its way to be compared. Its status was found to be the recorded one. */
export interface AnswerToCheck<Kept = HeldAnswer> {
  readonly index: number;
  /** The recorded exchange. */
  readonly segment: string;
  readonly exchangeId: number;
  readonly route: string | null;
  /** Whether the recorded one came piece by piece. */
  readonly streamed: boolean;
  /** What was read of it as it came; of a stream they stand for its bytes, and `kept` is null. */
  readonly facts: Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish' | 'finishes'> | null;
  readonly kept: Kept | null;
}
