import type { AnswerHead } from '../../../src/replay/answers/read-answer.ts';
import type { SenderConnections } from '../../../src/replay/engine/health.ts';
import type { PreparedRequest } from '../../../src/replay/engine/messages.ts';
import type { SendEvents, SendHandle, Transport } from '../../../src/replay/http/client.ts';
import type { SendEnd } from '../../../src/replay/http/errors.ts';
import type { ManualClock } from '../../support/manual-clock.ts';

/** The result of one request: when it is answered, if ever, and how. */
export interface ScriptedAnswer {
  /** Time from the send to the last byte; Infinity for never. */
  readonly afterNs: number;
  readonly status?: number;
  readonly error?: SendEnd;
  readonly chunks?: readonly string[];
  readonly head?: AnswerHead;
}

const PLAIN: AnswerHead = { contentType: 'text/plain', contentEncoding: null, hasLength: true };

/** A transport that follows a script on a manual clock. */
export class ScriptedTransport implements Transport {
  readonly sent: { readonly index: number; readonly atNs: number }[] = [];
  readonly #clock: ManualClock;
  readonly #script: (request: PreparedRequest) => ScriptedAnswer;

  constructor(clock: ManualClock, script: (request: PreparedRequest) => ScriptedAnswer) {
    this.#clock = clock;
    this.#script = script;
  }

  send(request: PreparedRequest, events: SendEvents): SendHandle {
    this.sent.push({ index: request.index, atNs: this.#clock.nowNs() });
    const { afterNs, status = 200, error, chunks = ['ten bytes!'], head = PLAIN } = this.#script(request);
    let over = false;
    const end = (finish: () => void): void => {
      if (over) return;
      over = true;
      finish();
    };
    events.onStart(request.index > 0);
    if (Number.isFinite(afterNs)) {
      this.#clock.sleepUntil(this.#clock.nowNs() + afterNs, () =>
        end(() => {
          if (error) {
            events.onError(error);
            return;
          }
          events.onFirstByte();
          events.onStatus(status, head);
          for (const chunk of chunks) events.onData(Buffer.from(chunk));
          events.onEnd();
        }),
      );
    }
    return { abort: (reason) => end(() => events.onError(reason)) };
  }

  warm(): Promise<void> {
    return Promise.resolve();
  }

  openAhead(): boolean {
    return false;
  }

  use(): SenderConnections {
    return {
      opened: 0,
      openedAtLimit: 0,
      overtaken: 0,
      openedAhead: 0,
      failed: 0,
      openMax: 0,
      used: 0,
      connect: new Float64Array(),
      requestsPerConnection: { mean: 0, max: 0 },
      byAddress: [],
      software: [],
    };
  }

  close(): void {}
}
