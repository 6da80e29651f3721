import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { MessagePort } from 'node:worker_threads';
import type { Clock } from '../../core/clock.ts';
import { NOTHING_EXPECTED } from '../answers/expected-answer.ts';
import { AnswerArena } from '../check/messages.ts';
import { AddressBook } from '../http/addresses.ts';
import { HttpClient, type Transport } from '../http/client.ts';
import type { SenderHealth } from './health.ts';
import { afterAtLeast, afterHearing, LoopTime } from './loop-time.ts';
import {
  type FromSender,
  packBatch,
  packResults,
  type SendBatch,
  type SenderSetup,
  type SendResult,
  type ToSender,
} from './messages.ts';
import { WAKE_LEAD_NS } from './pacer.ts';
import { SENDER_TICK_MS, Sender } from './sender.ts';
import { DueRing, InFlight, type SenderSignals } from './shared-memory.ts';

/** Lateness from which on overdue sends are spread out rather than sent at once. */
const CATCH_UP_FROM_NS = 50_000_000;
/** How far catching up may fall behind its own spacing, so that jitter does not lower its rate. */
const CATCH_UP_SLACK_NS = 1_000_000;

/** How long before a start that was set the connections are warmed again: idle ones are given up after 1.5 s. */
const WARM_BEFORE_START_NS = 1_000_000_000;

/** Where a sender's connections go, and what bounds the sender. */
interface Aim {
  readonly transport: Transport;
  readonly signals: SenderSignals;
  readonly inFlight: InFlight;
  readonly keeping?: AnswerArena | null;
}

/** Lives in a sender thread: warms up, says so, and sends until everything has its result. */
export class SenderThread {
  readonly #setup: SenderSetup;
  readonly #port: MessagePort;
  readonly #clock: Clock;
  readonly #transport: HttpClient;
  #sender: Sender | null = null;

  constructor(setup: SenderSetup, port: MessagePort, clock: Clock) {
    this.#setup = setup;
    this.#port = port;
    this.#clock = clock;
    this.#transport = this.#transportTo(setup.origin, setup.socketPath);
  }

  async run(): Promise<void> {
    this.#port.on('message', (message: ToSender) => this.#receive(message));
    await rehearse((origin, onOver) => {
      const transport = this.#transportTo(origin, null);
      const inFlight = InFlight.create(this.#setup.inFlightLimits);
      const aim = { transport, signals: DueRing.create(1).signalsOf(0), inFlight };
      const sender = this.#senderFor(this.#clock.nowNs(), aim, () => undefined, onOver);
      return { sender, transport };
    });
    await this.#transport.warm(this.#setup.warmConnections);
    this.#post({ kind: 'ready' });
  }

  #receive(message: ToSender): void {
    switch (message.kind) {
      case 'start':
        this.#sender = this.#start(message.startNs);
        break;
      case 'batch':
      case 'followUps':
        this.#sender?.accept(message.batch, message.kind);
        break;
      case 'finish':
        this.#sender?.finish();
        break;
      case 'stop':
        this.#sender?.stop();
        break;
    }
  }

  #start(startNs: number): Sender {
    const { ringMemory, inFlightMemory, inFlightLimits } = this.#setup;
    const { sender: index, wakePort, keeping = null } = this.#setup;
    const ring = new DueRing(ringMemory);
    const report = (results: SendResult[]): void => {
      const rows = packResults(results);
      if (keeping === null) this.#post({ kind: 'results', rows }, [rows.buffer]);
      else {
        const kept = results.flatMap((result) => (result.kept == null ? [] : [result.kept]));
        this.#post({ kind: 'results', rows, kept }, [rows.buffer]);
      }
    };
    const aim = {
      transport: this.#transport,
      signals: ring.signalsOf(index),
      inFlight: new InFlight(inFlightMemory, inFlightLimits),
      keeping: keeping === null ? null : new AnswerArena(keeping),
    };
    const sender = this.#senderFor(startNs, aim, report, (health) => this.#end(health));
    wakePort.on('message', () => sender.wake());
    this.#warmAgain(startNs);
    return sender;
  }

  /** Connections that were opened at first are closed by a start that lies further ahead. */
  #warmAgain(startNs: number): void {
    const waitNs = startNs - WARM_BEFORE_START_NS - this.#clock.nowNs();
    if (waitNs <= 0) return;
    const again = (): void => void this.#transport.warm(this.#setup.warmConnections);
    afterAtLeast(this.#clock, again, waitNs / 1e6);
  }

  #transportTo(origin: string, socketPath: string | null): HttpClient {
    const book =
      socketPath === null
        ? new AddressBook(new URL(origin).hostname, resolveAll, this.#clock, this.#setup.fenced)
        : AddressBook.ofOne(`unix:${socketPath}`, this.#clock);
    return new HttpClient({ ...this.#setup, origin, socketPath }, book, this.#clock);
  }

  #senderFor(
    startNs: number,
    aim: Aim,
    onResults: (results: SendResult[]) => void,
    onOver: (health: SenderHealth) => void,
  ): Sender {
    const { totalTimeoutMs, drainDeadlineMs, catchUpGapNs, judgedFromNs = 0 } = this.#setup;
    const loopTime = new LoopTime(this.#clock);
    const ticks = setInterval(() => sender.tick(), SENDER_TICK_MS);
    const sender = new Sender(
      {
        startNs,
        judgedFromNs,
        totalTimeoutMs,
        drainDeadlineMs,
        catchUp: { fromLagNs: CATCH_UP_FROM_NS, gapNs: catchUpGapNs, slackNs: CATCH_UP_SLACK_NS },
        spinNs: WAKE_LEAD_NS,
      },
      {
        clock: this.#clock,
        loopTime,
        ...aim,
        afterTurn: (callback) => setImmediate(callback),
        afterMs: (callback, ms) => afterAtLeast(this.#clock, callback, ms),
        afterHearing: (callback, ms) => afterHearing(loopTime, callback, ms),
        loopIdleNs: () => performance.eventLoopUtilization().idle * 1e6,
        onResults,
        onOver: (health) => {
          clearInterval(ticks);
          onOver(health);
        },
      },
    );
    return sender;
  }

  #end(health: SenderHealth): void {
    const connections = this.#transport.use();
    this.#transport.close();
    this.#post({ kind: 'over', health, connections, connect: this.#transport.connectTimes() });
    this.#setup.wakePort.close();
    this.#port.close();
  }

  #post(message: FromSender, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}

async function resolveAll(hostname: string): Promise<string[]> {
  const addresses = await lookup(hostname, { all: true, order: 'verbatim' });
  return addresses.map(({ address }) => address);
}

const REQUESTS = 400;
/** Closer than the sender would sleep: no pacer runs yet that would wake it. */
const GAP_NS = WAKE_LEAD_NS / 2;
const RESPONSE = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const BODY = Buffer.alloc(1_024, 'rehearsal ');

/** Builds the sender that is to be warmed up: the real one, aimed at `origin`. */
type BuildSender = (origin: string, onOver: () => void) => { sender: Sender; transport: Transport };

/**
 * Plays some hundred requests against a listener of our own on the loopback interface. Code that
 * runs for the first time takes milliseconds where it later takes microseconds: without this the first dozens
 * of sends of every run would be late by up to 6 ms. The target sees nothing of it.
 */
async function rehearse(build: BuildSender): Promise<void> {
  const server = answeringServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const over = Promise.withResolvers<void>();
  const { sender, transport } = build(`http://127.0.0.1:${port}`, over.resolve);
  sender.accept(batchOf(REQUESTS));
  sender.finish();
  await over.promise;
  transport.close();
  server.close();
  await once(server, 'close');
}

/** Answers whenever a whole request may have arrived. */
function answeringServer(): Server {
  return createServer((socket) => {
    let left = 0;
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      if (left === 0) left = chunk.indexOf('\r\n\r\n') + 4 + BODY.length;
      left -= chunk.length;
      if (left === 0) socket.write(RESPONSE);
    });
  });
}

function batchOf(count: number): SendBatch {
  return packBatch(
    Array.from({ length: count }, (_, index) => ({
      index,
      intendedOffsetNs: index * GAP_NS,
      method: 'POST',
      path: '/rehearsal',
      headers: ['Content-Type', 'application/octet-stream', 'Accept', '*/*'],
      body: BODY,
      chunked: false,
      answer: NOTHING_EXPECTED,
    })),
  );
}
