import type { SendError } from '../../core/run.ts';
import { GRPC_OK, GrpcMessages } from '../../inference/grpc.ts';
import { CallErrorScan } from '../../inference/protobuf/call-facts.ts';
import { knownCall } from '../../inference/protobuf/known-services.ts';
import type { AnswerFacts } from './read-answer.ts';
import { TokenTimes } from './token-times.ts';

/** Reads the messages of a gRPC answer while they arrive, and judges how it ended. */
export class GrpcAnswer {
  readonly #isStream: boolean;
  readonly #times = new TokenTimes();
  readonly #messages: GrpcMessages;
  /** Null for a call whose messages cannot be read. */
  readonly #errorScan: CallErrorScan | null;
  #atNs = 0;
  #pausedNs = 0;

  /**
   * @param path of the call, which may begin with a base path of the target
   * @param isStream whether the answer is a stream even if it has one message
   * @param coding `grpc-encoding` of the answer
   */
  constructor(path: string, isStream: boolean, coding: string | null) {
    this.#isStream = isStream;
    const types = knownCall(path);
    this.#errorScan = types === null ? null : new CallErrorScan(types, coding);
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
    this.#errorScan?.write(bytes);
  }

  /** Whether a complete answer with status OK reports an error in a message; null if that is unknown. */
  tellsError(): boolean | null {
    return this.#errorScan?.finish() ?? null;
  }

  /**
   * What is wrong with an answer that ended; null if it is complete.
   * @param code its `grpc-status`; null without one
   * @param wantsMessage whether an OK must have a message
   */
  errorOf(code: number | null, wantsMessage: boolean): SendError | null {
    if (code === null) return 'no_status';
    if (code !== GRPC_OK) return null;
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
