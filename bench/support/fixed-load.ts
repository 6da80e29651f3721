import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { MessageCounter } from './message-counter.ts';

/**
 * Sends the given requests in turn, repeatedly, and measures each answer. It uses raw sockets and counts bytes, so that
 * the load is cheap and costs the same for every contender.
 *
 * Messages in: `{ port, requests, responseBodyBytes, connections, count }` for a closed loop, with `ratePerSecond` for
 * an open loop. Message out: `{ answers, failures, durationMs, latenciesUs }`.
 */
interface Job {
  readonly port: number;
  readonly requests: readonly string[];
  readonly responseBodyBytes: number;
  readonly connections: number;
  readonly count: number;
  readonly ratePerSecond?: number;
  /** A text in each request that is replaced by the request's number, so that no request is sent twice. */
  readonly serial?: string;
}

let turn = 0;

function nextRequest(job: Job): string {
  turn += 1;
  const request = job.requests[turn % job.requests.length] as string;
  if (job.serial === undefined) return request;
  return request.replaceAll(job.serial, String(turn).padStart(job.serial.length, '0'));
}

class Line {
  readonly socket: Socket;
  readonly #job: Job;
  readonly #answers: MessageCounter;
  #sentNs: bigint[] = [];
  onAnswer: (latencyUs: number) => void = () => undefined;

  constructor(socket: Socket, job: Job) {
    this.socket = socket;
    this.#job = job;
    this.#answers = new MessageCounter(job.responseBodyBytes);
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
  }

  get busy(): boolean {
    return this.#sentNs.length > 0;
  }

  send(): void {
    this.#sentNs.push(process.hrtime.bigint());
    this.socket.write(nextRequest(this.#job));
  }

  #take(chunk: Buffer): void {
    for (let answers = this.#answers.push(chunk); answers > 0; answers -= 1) {
      const sent = this.#sentNs.shift() as bigint;
      this.onAnswer(Number(process.hrtime.bigint() - sent) / 1000);
    }
  }
}

async function run(job: Job): Promise<object> {
  const lines: Line[] = [];
  for (let index = 0; index < job.connections; index += 1) {
    const socket = connect(job.port, '127.0.0.1');
    await once(socket, 'connect');
    lines.push(new Line(socket, job));
  }
  const latenciesUs: number[] = [];
  let sent = 0;
  let failures = 0;
  const startNs = process.hrtime.bigint();
  await new Promise<void>((resolve) => {
    const settle = () => {
      if (latenciesUs.length + failures >= job.count) resolve();
    };
    for (const line of lines) {
      line.socket.on('close', () => {
        failures += 1;
        settle();
      });
      line.onAnswer = (latencyUs) => {
        latenciesUs.push(latencyUs);
        settle();
        if (job.ratePerSecond === undefined && sent < job.count) {
          sent += 1;
          line.send();
        }
      };
    }
    if (job.ratePerSecond === undefined) {
      for (const line of lines) {
        sent += 1;
        line.send();
      }
    } else openLoop(job, lines, startNs);
  });
  const durationMs = Number(process.hrtime.bigint() - startNs) / 1e6;
  for (const line of lines) {
    line.socket.removeAllListeners('close');
    line.socket.end();
  }
  return { answers: latenciesUs.length, failures, durationMs, latenciesUs };
}

function openLoop(job: Job, lines: Line[], startNs: bigint): void {
  const gapNs = 1e9 / (job.ratePerSecond ?? 1);
  let sent = 0;
  const tick = () => {
    const elapsedNs = Number(process.hrtime.bigint() - startNs);
    while (sent < job.count && sent * gapNs <= elapsedNs) {
      const line = lines.find((one) => !one.busy) ?? (lines[sent % lines.length] as Line);
      sent += 1;
      line.send();
    }
    if (sent < job.count) setImmediate(tick);
  };
  tick();
}

process.on('message', async (job: Job) => {
  process.send?.(await run(job));
});
process.on('disconnect', () => process.exit());
