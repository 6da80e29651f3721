import type { SendError } from '../../core/run.ts';
import { GrpcMessages } from '../../inference/grpc.ts';
import type { AnswerFacts } from './read-answer.ts';
import { TokenTimes } from './token-times.ts';

/** The code of a call that succeeded. */
const OK = 0;

/** Reads the messages of a gRPC answer while they arrive, and judges how it ended. */
export class GrpcAnswer {
  readonly #isStream: boolean;
  readonly #times = new TokenTimes();
  readonly #messages: GrpcMessages;
  #atNs = 0;
  #pausedNs = 0;

  /** @param isStream whether the answer is a stream even if it has one message */
  constructor(isStream: boolean) {
    this.#isStream = isStream;
    this.#messages = new GrpcMessages((_bytes, _begins, ends) => {
      if (ends) this.#times.add(this.#atNs, this.#pausedNs);
    });
  }

  /** Whether a whole message came. */
  get hasMessage(): boolean {
    return this.#messages.ended > 0;
  }

  write(bytes: Buffer, atNs: number, pausedNs: number): void {
    this.#atNs = atNs;
    this.#pausedNs = pausedNs;
    this.#messages.write(bytes);
  }

  /**
   * What is wrong with an answer that ended; null if it is complete.
   * @param code its `grpc-status`; null without one
   * @param wantsMessage whether an OK must have a message
   */
  errorOf(code: number | null, wantsMessage: boolean): SendError | null {
    if (code === null) return 'no_status';
    if (code !== OK) return null;
    if (this.#messages.broken || this.#messages.inside) return 'broken_stream';
    return wantsMessage && !this.hasMessage ? 'no_message' : null;
  }

  facts(): AnswerFacts {
    const streamed = this.#isStream || this.#messages.ended > 1;
    // Messages of gRPC have no common place for counts.
    return {
      ...this.#times.facts(),
      streamed,
      read: streamed,
      promptTokens: null,
      outputTokens: null,
      finish: null,
    };
  }
}
