import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { expectUnharmed } from '../support/attacked-recording.ts';
import { untilStatus } from '../support/control.ts';
import {
  bytesOf,
  type GeneratedExchange,
  generateExchange,
  type Parts,
  takeMessage,
} from '../support/generated-messages.ts';
import { repeated } from '../support/long-form.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = repeated(500, 2_000);
const PARALLEL = 8;
/** Exchanges sent between two looks at the queue, and how short that is then. */
const PAUSE_EVERY = 50;
const SHORT_QUEUE_BYTES = 4 * 1024 * 1024;
const COMMON = ['--probe-listen', 'off', '--drain-delay', '0s', '--skip', 'none'];

/** What belongs to one hop: the list of docs/guides/gateway.md. */
const HOP = /^(connection|keep-alive|proxy-connection|expect|upgrade):/i;

const random = new SeededRandom(1_230);
const exchanges = Array.from({ length: COUNT }, (_, id) => generateExchange(id, random));
const seen = new Map<number, Parts>();

const sockets = new Set<Socket>();
const upstream = createServer({ noDelay: true }, serve).listen(0, '127.0.0.1');
await once(upstream, 'listening');
const upstreamPort = (upstream.address() as AddressInfo).port;
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  upstream.close();
});

function idOf(parts: Parts): number {
  return Number(parts.headers.find((header) => header.startsWith('X-Id: '))?.slice(6));
}

function expects(bytes: Buffer): boolean {
  const headEnd = bytes.indexOf('\r\n\r\n');
  return headEnd > 0 && /\r\nexpect: 100-continue/i.test(bytes.toString('latin1', 0, headEnd));
}

/** Answers each request with the answer that was made up for it, and keeps what it was asked. */
function serve(socket: Socket): void {
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.on('close', () => sockets.delete(socket));
  const pieces: Buffer[] = [];
  let asked = false;
  socket.on('data', (chunk: Buffer) => {
    pieces.push(chunk);
    let rest = Buffer.concat(pieces);
    if (!asked && expects(rest)) {
      asked = true;
      socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    }
    for (
      let taken = takeMessage(rest, { bodyless: false, ended: false });
      taken;
      taken = takeMessage(rest, { bodyless: false, ended: false })
    ) {
      rest = rest.subarray(taken.bytes);
      asked = false;
      const id = idOf(taken.parts);
      seen.set(id, taken.parts);
      const { answer, untilClose } = exchanges[id] as GeneratedExchange;
      const { head, body } = bytesOf(answer);
      socket.write(Buffer.concat([head, body]));
      if (untilClose) socket.end();
    }
    pieces.splice(0, pieces.length, rest);
  });
}

/** A client's connection that lasts as long as it may. */
class Line {
  readonly #port: number;
  #socket: Socket | null = null;
  #received: Buffer[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(port: number) {
    this.#port = port;
  }

  async ask({ request, bodyless }: GeneratedExchange): Promise<Parts> {
    const socket = this.#socket ?? this.#connect();
    const { head, body } = bytesOf(request);
    socket.write(head);
    if (request.headers.includes('Expect: 100-continue')) {
      const interim = await this.#take(true);
      expect(interim.line).toBe('HTTP/1.1 100 Continue');
    }
    socket.write(body);
    const answer = await this.#take(bodyless);
    if (answer.headers.some((header) => /^connection: close/i.test(header)) || this.#ended) this.close();
    return answer;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  #connect(): Socket {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    this.#received = [];
    this.#ended = false;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#wake();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
    return socket;
  }

  async #take(bodyless: boolean): Promise<Parts> {
    for (;;) {
      const bytes = Buffer.concat(this.#received);
      const taken = takeMessage(bytes, { bodyless, ended: this.#ended });
      if (taken) {
        this.#received = [bytes.subarray(taken.bytes)];
        return taken.parts;
      }
      if (this.#ended) throw new Error(`ended within ${JSON.stringify(bytes.toString('latin1', 0, 200))}`);
      this.#received = [bytes];
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/**
 * Sends everything to a port and says what came out at both ends. What is recorded waits now and then until the queue
 * is short again: loopback moves more than a recorder keeps where both compete for one processor, and then it sheds.
 */
async function play(
  port: number,
  directory: string | null,
): Promise<{ requests: Parts[]; answers: Parts[] }> {
  seen.clear();
  const answers: Parts[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      const line = new Line(port);
      while (next < COUNT) {
        if (directory !== null && next % PAUSE_EVERY === 0)
          await untilStatus(directory, ({ queuedBytes }) => queuedBytes < SHORT_QUEUE_BYTES);
        // Meanwhile others may have taken the last.
        const exchange = exchanges[next++];
        if (exchange === undefined) break;
        answers[exchange.id] = await line.ask(exchange);
      }
      line.close();
    }),
  );
  return { requests: exchanges.map(({ id }) => seen.get(id) as Parts), answers };
}

/** What must be the same, with bodies by their bytes. */
function comparable({ line, headers, body, trailers }: Parts, drop: RegExp): unknown {
  return {
    line,
    headers: headers.filter((header) => !drop.test(header)).map(drop === NOTHING ? asItIs : plain),
    body: body.toString('latin1'),
    trailers,
  };
}

const NOTHING = /^$/;
const asItIs = (header: string): string => header;
/** White space around a value is the gateway's own. */
const plain = (header: string): string => header.replace(/:[ \t]*(.*?)[ \t]*$/, ': $1');

describe(`${COUNT} exchanges of every kind`, () => {
  it('reach the other side as they were sent when nothing is in between', { timeout: 300_000 }, async () => {
    const direct = await play(upstreamPort, null);
    for (const { id, request, answer } of exchanges) {
      expect(comparable(direct.requests[id] as Parts, NOTHING)).toEqual(comparable(request, NOTHING));
      expect(comparable(direct.answers[id] as Parts, NOTHING)).toEqual(comparable(answer, NOTHING));
    }
  });

  it('pass the wire with every byte of them', { timeout: 300_000 }, async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(upstreamPort, directory, COMMON);
    const { requests, answers } = await play(recording.port, directory);
    for (const { id, request, answer } of exchanges) {
      expect(comparable(requests[id] as Parts, NOTHING)).toEqual(comparable(request, NOTHING));
      expect(comparable(answers[id] as Parts, NOTHING)).toEqual(comparable(answer, NOTHING));
    }
    expect((await expectUnharmed(recording)).exchanges).toBe(COUNT);
  });

  it('pass the gateway with all but what belongs to one hop', { timeout: 300_000 }, async () => {
    const flags = [...COMMON, '--mode', 'gateway'];
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(upstreamPort, directory, flags);
    const { requests, answers } = await play(recording.port, directory);
    for (const { id, request, answer, untilClose } of exchanges) {
      expect(comparable(requests[id] as Parts, HOP)).toEqual(comparable(request, HOP));
      // A body of unknown length comes in chunks.
      const drop = untilClose ? /^(connection|keep-alive|transfer-encoding):/i : HOP;
      expect(comparable(answers[id] as Parts, drop)).toEqual(comparable(answer, drop));
    }
    expect((await expectUnharmed(recording)).exchanges).toBe(COUNT);
  });
});
