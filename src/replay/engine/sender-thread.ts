import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { MessagePort } from 'node:worker_threads';
import type { Clock } from '../../core/clock.ts';
import { KeepingBudget } from '../check/answer-copy.ts';
import { AddressBook } from '../http/addresses.ts';
import { HttpClient, type Transport } from '../http/client.ts';
import { Http2Client } from '../http/http2-client.ts';
import { TargetClients } from '../http/target-clients.ts';
import { collectGarbage } from './garbage.ts';
import type { SenderHealth } from './health.ts';
import { BEAT_MS, Heartbeat } from './heartbeat.ts';
import { afterAtLeast, afterHearing, LoopTime } from './loop-time.ts';
import {
  type ConnectionOptions,
  type ExpectedProtocols,
  type FromSender,
  type PreparedRequest,
  packBatch,
  packed,
  type SenderSetup,
  type ToSender,
} from './messages.ts';
import { WAKE_LEAD_NS } from './pacer.ts';
import { createNullServer, syntheticRequest } from './rehearsal.ts';
import { SENDER_TICK_MS, Sender, type SenderDeps, type SendingPriority } from './sender.ts';
import { DueRing, InFlight } from './shared-memory.ts';

const ONLY_HTTP1: ExpectedProtocols = Object.freeze({ http1: true, http2: false, grpc: false });

/** How long before a set start connections are warmed again. Idle ones are closed after 1.5 s. */
const WARM_BEFORE_START_NS = 1_000_000_000;

/** The sender in its thread: warms up, reports that it is ready, and sends until all requests have results. */
export class SenderThread {
  readonly #setup: SenderSetup;
  readonly #port: MessagePort;
  readonly #clock: Clock;
  readonly #takePriority: () => SendingPriority;
  readonly #transport: TargetClients;
  #priority: SendingPriority | null = null;
  #sender: Sender | null = null;

  /** @param takePriority gives the calling thread priority */
  constructor(setup: SenderSetup, port: MessagePort, clock: Clock, takePriority: () => SendingPriority) {
    this.#setup = setup;
    this.#port = port;
    this.#clock = clock;
    this.#takePriority = takePriority;
    this.#transport = this.#clients();
  }

  async run(): Promise<void> {
    this.#port.on('message', (message: ToSender) => this.#receive(message));
    await rehearse(this.#setup.rehearsed ?? REHEARSED, (origin, onOver) => {
      const transport = this.#clientTo(HttpClient, { ...this.#setup, origin, socketPath: null });
      const inFlight = InFlight.create(this.#setup.inFlight.limits);
      const aim = { transport, signals: DueRing.create(1).signalsOf(0), inFlight };
      const sender = this.#senderFor(this.#clock.nowNs(), { ...aim, onResults: () => undefined, onOver });
      return { sender, transport };
    });
    await this.#transport.warm(this.#setup.warmConnections);
    collectGarbage();
    // Last, because threads that it starts inherit its niceness, such as those that resolve names.
    this.#priority = this.#takePriority();
    this.#post({ kind: 'ready' });
  }

  #receive(message: ToSender): void {
    if (message.kind === 'start') this.#sender = this.#start(message.startNs);
    else if ('batch' in message) this.#sender?.accept(message.batch, message.kind);
    else this.#sender?.[message.kind]();
  }

  #start(startNs: number): Sender {
    const { sender: index, ringMemory, inFlight, held, wakePort, keeping = null } = this.#setup;
    const sender = this.#senderFor(startNs, {
      transport: this.#transport,
      signals: new DueRing(ringMemory).signalsOf(index),
      inFlight: new InFlight(inFlight),
      held: held === null ? null : new InFlight(held),
      keeping: keeping === null ? null : new KeepingBudget(keeping),
      onResults: (batch) => {
        const results = packed(batch);
        this.#post({ kind: 'results', results }, [results.buffer]);
      },
      onOver: (health) => this.#end(health),
    });
    wakePort.on('message', () => sender.wake());
    this.#warmAgain(startNs);
    return sender;
  }

  /** Opens warm connections again if the start is so far ahead that the first ones are closed by then. */
  #warmAgain(startNs: number): void {
    const waitNs = startNs - WARM_BEFORE_START_NS - this.#clock.nowNs();
    if (waitNs <= 0) return;
    const again = (): void => void this.#transport.warm(this.#setup.warmConnections);
    afterAtLeast(this.#clock, again, waitNs / 1e6);
  }

  #clients(): TargetClients {
    const { grpcTarget = null, expected = ONLY_HTTP1 } = this.#setup;
    const makers = {
      http1: () => this.#clientTo(HttpClient, this.#setup),
      http2: () => this.#clientTo(Http2Client, this.#setup),
      grpc: grpcTarget === null ? null : () => this.#clientTo(Http2Client, { ...this.#setup, ...grpcTarget }),
    };
    return new TargetClients(makers, expected);
  }

  #clientTo<Kind>(
    Client: new (options: ConnectionOptions, book: AddressBook, clock: Clock) => Kind,
    options: ConnectionOptions,
  ): Kind {
    const { origin, socketPath, fenced } = options;
    const book =
      socketPath === null
        ? new AddressBook(new URL(origin).hostname, resolveAll, this.#clock, fenced)
        : AddressBook.ofOne(`unix:${socketPath}`, this.#clock);
    return new Client(options, book, this.#clock);
  }

  #senderFor(
    startNs: number,
    aim: Pick<SenderDeps, 'transport' | 'signals' | 'inFlight' | 'held' | 'keeping' | 'onResults' | 'onOver'>,
  ): Sender {
    const loopTime = new LoopTime(this.#clock);
    const beats = setTimeout(() => heartbeat.beat(), BEAT_MS);
    const heartbeat = new Heartbeat(this.#clock, () => beats.refresh());
    const ticks = setInterval(() => sender.tick(), SENDER_TICK_MS);
    const sender = new Sender(
      { ...this.#setup, startNs },
      {
        ...aim,
        clock: this.#clock,
        loopTime,
        heartbeat,
        afterTurn: (callback) => setImmediate(callback),
        afterMs: (callback, ms) => afterAtLeast(this.#clock, callback, ms),
        afterHearing: (callback, ms) => afterHearing(loopTime, callback, ms),
        loopIdleNs: () => performance.eventLoopUtilization().idle * 1e6,
        priority: this.#priority,
        onOver: (health) => {
          clearInterval(ticks);
          clearTimeout(beats);
          aim.onOver(health);
        },
      },
    );
    return sender;
  }

  #end(health: SenderHealth): void {
    const connections = this.#transport.uses();
    this.#transport.close();
    this.#post({ kind: 'over', health, connections, niceness: this.#priority?.highest ?? 0 });
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

const REHEARSED = 400;
/**
 * Gap between rehearsed requests. It is so short that the sender does not sleep, because no pacer could wake it yet.
 */
const GAP_NS = WAKE_LEAD_NS / 2;
const BODY = Buffer.alloc(1_024, 'rehearsal ');

/**
 * Sends some hundred requests to our own listener on the loopback interface. Code that runs for the first time takes
 * milliseconds instead of microseconds. Without this, the first dozens of sends of every run would be up to 6 ms late.
 * The target is not involved.
 * @param build makes the sender to warm up: the real one, but with `origin` as target
 */
async function rehearse(
  requests: number,
  build: (origin: string, onOver: () => void) => { sender: Sender; transport: Transport },
): Promise<void> {
  if (requests === 0) return;
  const server = createNullServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const over = Promise.withResolvers<void>();
  const { sender, transport } = build(`http://127.0.0.1:${port}`, over.resolve);
  sender.accept(packBatch(rehearsal(requests)));
  sender.finish();
  await over.promise;
  transport.close();
  server.close();
  await once(server, 'close');
}

function rehearsal(requests: number): PreparedRequest[] {
  return Array.from({ length: requests }, (_, index) => syntheticRequest(index, index * GAP_NS, BODY));
}
