import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { FromArrivalServer, ToArrivalServer } from './arrival-server.ts';

/** The requests that reached the target, in order of arrival. */
export interface Arrivals {
  /** Index and instant (monotonic ns) of each request, flat. */
  readonly pairs: Float64Array;
  readonly bodyBytes: number;
}

/** The arrival server, as its parent process uses it. */
export class ArrivalTarget {
  readonly port: number;
  readonly pid: number;
  readonly #child: ChildProcess;
  #first = Promise.withResolvers<void>();
  #last = Promise.withResolvers<void>();
  #report = Promise.withResolvers<Arrivals>();

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    this.pid = child.pid as number;
    child.on('message', (message: FromArrivalServer) => {
      if (message === 'first') this.#first.resolve();
      else if (message === 'last') this.#last.resolve();
      else if ('arrivals' in message) {
        this.#report.resolve({ pairs: Float64Array.from(message.arrivals), bodyBytes: message.bodyBytes });
      }
    });
  }

  /** With the times at which the target read. */
  static start(): Promise<ArrivalTarget> {
    const entry = new URL('./arrival-server.ts', import.meta.url);
    return ArrivalTarget.#started(fork(entry, { serialization: 'advanced' }));
  }

  /** With the times at which the kernel received. @param python a path */
  static startStamped(python: string): Promise<ArrivalTarget> {
    const script = fileURLToPath(new URL('./stamped_target.py', import.meta.url));
    return ArrivalTarget.#started(
      spawn(python, [script], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
  }

  static async #started(child: ChildProcess): Promise<ArrivalTarget> {
    const [message] = (await once(child, 'message')) as [{ port: number }];
    return new ArrivalTarget(child, message.port);
  }

  /** Discards earlier arrivals. Prepares `first` and `last` for this number of requests. */
  expect(requests: number): void {
    this.#first = Promise.withResolvers();
    this.#last = Promise.withResolvers();
    this.#tell({ expect: requests });
  }

  /**
   * How the next connections answer gRPC calls. Only a stamped target does.
   * @param streams how many calls a connection may have at a time
   */
  answerCalls(streams: number, delayMs: number): void {
    this.#tell({ streams, delayMs });
  }

  get first(): Promise<void> {
    return this.#first.promise;
  }

  /**
   * Resolves when all expected requests have arrived, or after `limitMs`. Requests that are missing by then stay
   * missing.
   */
  async last(limitMs: number): Promise<void> {
    const limit = new AbortController();
    const expired = sleep(limitMs, undefined, { signal: limit.signal }).catch(() => undefined);
    await Promise.race([this.#last.promise, expired]);
    limit.abort();
  }

  report(): Promise<Arrivals> {
    this.#report = Promise.withResolvers();
    this.#tell('report');
    return this.#report.promise;
  }

  stop(): void {
    this.#child.disconnect();
  }

  #tell(message: ToArrivalServer): void {
    this.#child.send(message);
  }
}
