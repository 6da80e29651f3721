import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { grpcMessage } from './grpc.ts';
import { callOnce, SESSION_MEMORY } from './http2-calls.ts';

export interface SteadyRate {
  readonly connections: number;
  /** Of each connection, calls a second. */
  readonly perSecond: number;
  readonly bodyBytes: () => number;
}

/** Calls at a rate on connections that are never closed. Each has its own number, in its path and in its body. */
export class SteadyCalls {
  readonly failed: number[] = [];
  answered = 0;
  readonly #rate: SteadyRate;
  readonly #sessions: readonly ClientHttp2Session[];
  readonly #loops: readonly Promise<void>[];
  #latenciesMs: number[] = [];
  #next = 1;
  #stopped = false;

  private constructor(sessions: readonly ClientHttp2Session[], rate: SteadyRate) {
    this.#sessions = sessions;
    this.#rate = rate;
    this.#loops = sessions.map((session, at) => this.#loop(session, at / sessions.length));
  }

  static async start(port: number, rate: SteadyRate): Promise<SteadyCalls> {
    const sessions = Array.from({ length: rate.connections }, () =>
      connect(`http://127.0.0.1:${port}`, SESSION_MEMORY),
    );
    // What it costs calls is counted with them.
    for (const session of sessions) session.on('error', () => undefined);
    await Promise.all(sessions.map((session) => once(session, 'connect')));
    return new SteadyCalls(sessions, rate);
  }

  get sent(): number {
    return this.#next - 1;
  }

  /** From when each answered call was due to its end, since the last time that they were taken. */
  takeLatenciesMs(): number[] {
    const taken = this.#latenciesMs;
    this.#latenciesMs = [];
    return taken;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    for (const session of this.#sessions) session.close();
  }

  /** @param phase where in its interval the first call is due: connections take turns */
  async #loop(session: ClientHttp2Session, phase: number): Promise<void> {
    const startedMs = performance.now();
    const open: Promise<void>[] = [];
    for (let nth = 0; !this.#stopped; nth += 1) {
      const dueMs = startedMs + ((nth + phase) * 1_000) / this.#rate.perSecond;
      await sleep(Math.max(0, dueMs - performance.now()));
      open.push(this.#call(session, dueMs));
    }
    await Promise.all(open);
  }

  async #call(session: ClientHttp2Session, dueMs: number): Promise<void> {
    const id = this.#next;
    this.#next += 1;
    const body = grpcMessage(Buffer.alloc(this.#rate.bodyBytes(), `${id} `));
    const answer = await callOnce(session, body, `/m.S/Call${id}`);
    if (answer?.equals(body)) this.answered += 1;
    else this.failed.push(id);
    this.#latenciesMs.push(performance.now() - dueMs);
  }
}
