import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** Most connections. Further requests wait for one, and the wait counts in their latency. */
const CONNECTIONS = 32;
const ANSWER_LIMIT_MS = 20_000;

/** Requests per second in an open loop, or clients in a closed loop, which send after each answer. */
type Pace = number | { readonly clients: number };

/**
 * Numbered requests. In an open loop each is sent when it is due, independent of earlier ones, and its latency counts
 * from then. So if the server stops for a second, all requests of that second are late.
 */
export class PacedTraffic {
  readonly failed: { readonly id: number; readonly reason: string }[] = [];
  succeeded = 0;
  readonly #port: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #inFlight = new Set<Promise<void>>();
  readonly #filler: string;
  readonly #sending: Promise<void>;
  #latenciesMs: number[] = [];
  #stopped = false;

  constructor(port: number, pace: Pace, filler = 'x'.repeat(300)) {
    this.#port = port;
    this.#filler = filler;
    this.#sending =
      typeof pace === 'number' ? this.#sendInOpenLoop(pace) : this.#sendInClosedLoop(pace.clients);
  }

  /** Latencies of answers since the last call, ms, ascending. */
  takeLatenciesMs(): readonly number[] {
    const taken = this.#latenciesMs.sort((a, b) => a - b);
    this.#latenciesMs = [];
    return taken;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#sending;
    await Promise.all(this.#inFlight);
    this.#agent.destroy();
  }

  async #sendInOpenLoop(perSecond: number): Promise<void> {
    const startMs = performance.now();
    for (let id = 1; !this.#stopped; id += 1) {
      const dueMs = startMs + (id * 1_000) / perSecond;
      const aheadMs = dueMs - performance.now();
      if (aheadMs > 0) await sleep(aheadMs);
      const one = this.#account(id, dueMs).then(() => {
        this.#inFlight.delete(one);
      });
      this.#inFlight.add(one);
    }
  }

  async #sendInClosedLoop(clients: number): Promise<void> {
    let id = 0;
    const client = async () => {
      while (!this.#stopped) {
        id += 1;
        await this.#account(id, performance.now());
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  async #account(id: number, dueMs: number): Promise<void> {
    const reason = await this.#ask(id);
    this.#latenciesMs.push(performance.now() - dueMs);
    if (reason === null) this.succeeded += 1;
    else this.failed.push({ id, reason });
  }

  /** Sends a request. @returns null if the answer is right, else the problem */
  #ask(id: number): Promise<string | null> {
    const body = JSON.stringify({ id, filler: this.#filler });
    const options = {
      host: '127.0.0.1',
      port: this.#port,
      agent: this.#agent,
      method: 'POST',
      path: `/v1/models/m:predict?id=${id}`,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    };
    return new Promise((resolve) => {
      const asked = request(options, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
        });
        answer.on('end', () =>
          resolve(text.startsWith(`{"id":${id},`) ? null : `answered ${text.slice(0, 80)}`),
        );
        answer.on('error', (error) => resolve(error.message));
      });
      asked.on('error', (error) => resolve(error.message));
      asked.end(body);
    });
  }
}
