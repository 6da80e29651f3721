import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/**
 * A listener that accepts no connections: its thread sleeps. When the two places of its queue are used, the kernel does
 * not answer further connection attempts.
 */
export class DeafListener {
  readonly port: number;
  readonly #thread: Worker;

  private constructor(thread: Worker, port: number) {
    this.#thread = thread;
    this.port = port;
  }

  static async start(): Promise<DeafListener> {
    const thread = new Worker(
      `const { createServer } = require('node:net');
       const { parentPort } = require('node:worker_threads');
       const server = createServer();
       server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
         parentPort.postMessage(server.address().port);
         Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
       });`,
      { eval: true },
    );
    const [port] = (await once(thread, 'message')) as [number];
    return new DeafListener(thread, port);
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}
