import type { SendAnswer } from '../../core/run.ts';

/** What a sender kept of an answer, in memory of its own that moves between threads. */
export interface KeptAnswer {
  readonly index: number;
  /** All bytes of the body, content coding left; null where they were more than may be held. */
  readonly bytes: Uint8Array | null;
  /** Why `bytes` is null: the answer alone was too large, or all that were held together. */
  readonly dropped: 'answer_too_large' | 'backlog' | null;
  /** What it takes of the budget until it was compared. */
  readonly heldBytes: number;
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** `Inference-Header-Content-Length`, as sent. */
  readonly inferenceHeaderLength: string | null;
}

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
  readonly facts: Pick<SendAnswer, 'contentEvents' | 'outputTokens' | 'finish'> | null;
  readonly kept: KeptAnswer | null;
}
