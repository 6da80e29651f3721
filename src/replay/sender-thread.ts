import { lookup } from 'node:dns/promises';
import { performance } from 'node:perf_hooks';
import type { MessagePort } from 'node:worker_threads';
import type { Clock } from '../core/clock.ts';
import { AddressBook } from './address-book.ts';
import { AnswerArena } from './check/answer-arena.ts';
import { DueRing, type SenderSignals } from './due-ring.ts';
import type { SenderHealth } from './engine-health.ts';
import { HttpClient, type Transport } from './http/client.ts';
import { InFlight } from './in-flight.ts';
import { LoopTime } from './loop-time.ts';
import { WAKE_LEAD_NS } from './pacer-thread.ts';
import { rehearse } from './rehearsal.ts';
import { packResults } from './result-batch.ts';
import type { SendResult } from './send-result.ts';
import { SENDER_TICK_MS, Sender } from './sender.ts';
import { afterAtLeast, afterHearing } from './sure-timer.ts';
import type { FromSender, SenderSetup, ToSender } from './thread-messages.ts';

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

  /** Those that were opened at first are gone by a start that lies a while ahead. */
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
