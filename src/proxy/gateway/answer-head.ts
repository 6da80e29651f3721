import type { ServerResponse } from 'node:http';

/** Whether a connection ends with the answer that is about to begin on it. */
export type EndsConnection = () => boolean;

/** The head of what a client is answered: the target's, or one of the gateway's own. */
export class AnswerHead {
  readonly #response: ServerResponse;
  readonly #endsConnection: EndsConnection;

  constructor(response: ServerResponse, endsConnection: EndsConnection) {
    this.#response = response;
    this.#endsConnection = endsConnection;
  }

  /** A whole answer of the gateway's own, without a body. */
  answer(status: number): void {
    this.#decideConnection();
    this.#response.writeHead(status, ['Content-Length', '0']);
    this.#response.end();
  }

  /** @returns false when Node finds something in it that cannot be sent */
  pass(status: number, reason: string, headers: string[]): boolean {
    if (this.#response.headersSent) return false;
    this.#response.sendDate = false;
    this.#decideConnection();
    try {
      this.#response.writeHead(status, reason, headers);
      return true;
    } catch {
      // Its own check is the stricter one; what it refuses is answered as any other answer that is none.
      return false;
    }
  }

  #decideConnection(): void {
    if (this.#endsConnection()) this.#response.shouldKeepAlive = false;
  }
}
