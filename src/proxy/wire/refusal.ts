import { WIRE } from '../../core/limits.ts';
import type { Side } from '../side.ts';
import type { FirstLine } from './request-line.ts';

const BAD_GATEWAY = 'HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

/**
 * A client whose upstream cannot be reached and who is to read why. It is answered once it is known to speak
 * HTTP/1, then read to its end for a moment, because closing over unread bytes would reset the answer away.
 * Anything else is reset.
 */
export class Refusal {
  readonly #client: Side;
  #timer: NodeJS.Timeout;
  #answered = false;

  constructor(client: Side, clientEnded: boolean) {
    this.#client = client;
    this.#timer = setTimeout(() => client.reset(), clientEnded ? 0 : WIRE.refusalMs);
    client.stream.resume();
  }

  judge(verdict: FirstLine['verdict']): void {
    if (this.#answered || verdict === 'open') return;
    if (verdict === 'other') {
      this.#client.reset();
      return;
    }
    this.#answered = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#client.reset(), WIRE.refusalLingerMs);
    this.#client.stream.end(BAD_GATEWAY);
  }

  /** A client that ends before it has asked for anything is owed no answer. */
  clientEnded(): void {
    if (!this.#answered) this.#client.stream.end();
  }

  /** The client is gone. */
  over(): void {
    clearTimeout(this.#timer);
  }
}
