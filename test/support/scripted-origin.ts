import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

/** One exchange of an origin's script: the request bytes to wait for, and the chunks of the answer. */
export interface ScriptedExchange {
  readonly requestBytes: number;
  readonly answer: readonly Buffer[];
  /** Pause between the answer's chunks, ms. */
  readonly pauseMs?: number;
  /** Awaited after each chunk of the answer, before the pause. @param bytes the bytes of the answer written so far */
  readonly arrived?: (bytes: number) => Promise<unknown>;
  /** Whether to end the connection after the answer. */
  readonly close?: boolean;
}

/**
 * A server that parses nothing. It waits for the number of bytes in the script, answers with raw bytes, and keeps all
 * received bytes. Each connection gets one script, in the order of acceptance.
 */
export class ScriptedOrigin {
  readonly received: Buffer[] = [];
  readonly #scripts: ScriptedExchange[][] = [];
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer({ allowHalfOpen: true }, (socket) => void this.#serve(socket));
  port = 0;

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (address !== null && typeof address === 'object') this.port = address.port;
    return this;
  }

  /** Adds the script for the next connection. */
  expect(script: readonly ScriptedExchange[]): void {
    this.#scripts.push([...script]);
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  async #serve(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    const script = this.#scripts.shift() ?? [];
    const chunks: Buffer[] = [];
    const index = this.received.push(Buffer.alloc(0)) - 1;
    let wanted = 0;
    let have = 0;
    let wake: () => void = () => undefined;
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      have += chunk.length;
      wake();
    });
    const ended = once(socket, 'end').catch(() => undefined);
    for (const step of script) {
      wanted += step.requestBytes;
      while (have < wanted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      let written = 0;
      for (const part of step.answer) {
        socket.write(part);
        written += part.length;
        await step.arrived?.(written);
        if (step.pauseMs) await new Promise((resolve) => setTimeout(resolve, step.pauseMs));
      }
      if (step.close) socket.end();
    }
    await ended;
    this.received[index] = Buffer.concat(chunks);
    socket.end();
  }
}
