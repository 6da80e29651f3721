/**
 * Sends a plan by busy waiting for each instant. It does nothing else: it reads no capture and keeps no rows. Its
 * remaining lateness comes from the target and the host, so no tool can do better there.
 *
 * The environment names the plan (JSON: microseconds after the start), the body and the target's port. It also names
 * the file for the start (monotonic nanoseconds, the clock that all processes of a host share).
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';

const RUN_UP_NS = 500_000_000n;
const ANSWER_LIMIT_MS = 10_000;
const CONNECTIONS = 64;

function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

/**
 * Connections without an open request. A connection is idle again after its answer, which the target sends in one
 * piece.
 */
class IdleConnections {
  readonly #idle: Socket[] = [];
  #open = 0;

  async fill(port: number): Promise<void> {
    for (; this.#open < CONNECTIONS; this.#open += 1) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      await once(socket, 'connect');
      socket.on('data', () => this.#idle.push(socket));
      this.#idle.push(socket);
    }
  }

  get allIdle(): boolean {
    return this.#idle.length === this.#open;
  }

  /** The connection that became idle last. */
  take(): Socket | undefined {
    return this.#idle.pop();
  }

  close(): void {
    for (const socket of this.#idle) socket.destroy();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const offsetsUs = JSON.parse(readFileSync(setting('BENCH_PLAN'), 'utf8')) as number[];
const body = readFileSync(setting('BENCH_BODY'));
const headOf = (index: number): string =>
  `POST /${index} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;

const connections = new IdleConnections();
await connections.fill(Number(setting('BENCH_PORT')));
const startNs = process.hrtime.bigint() + RUN_UP_NS;
writeFileSync(setting('BENCH_START'), String(startNs));
for (const [index, offsetUs] of offsetsUs.entries()) {
  const dueNs = startNs + BigInt(offsetUs) * 1_000n;
  const request = Buffer.concat([Buffer.from(headOf(index), 'latin1'), body]);
  // Each turn of the event loop reads the answers.
  while (process.hrtime.bigint() < dueNs) await turn();
  let connection = connections.take();
  for (; connection === undefined; connection = connections.take()) await turn();
  connection.write(request);
}
const lastNs = process.hrtime.bigint();
while (!connections.allIdle && Number(process.hrtime.bigint() - lastNs) / 1e6 < ANSWER_LIMIT_MS) await turn();
connections.close();
