import type { Duplex } from 'node:stream';
import { setImmediate as turnOfLoop } from 'node:timers/promises';
import type { Amount, Loss, Omission } from '../../src/core/accounting.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { CommitResult } from '../../src/core/ports.ts';
import { Ledger } from '../../src/proxy/ledger.ts';
import type { ForwarderReading } from '../../src/proxy/messages.ts';
import { Recorder } from '../../src/proxy/recorder.ts';
import { RecorderLink } from '../../src/proxy/recorder-link.ts';
import type { UnreportedLoss } from '../../src/proxy/recorder-reports.ts';
import { RecordingAccount } from '../../src/proxy/recording-account.ts';
import { SlabQueue } from '../../src/proxy/slab-queue.ts';
import type { TapConnection } from '../../src/proxy/tap-connection.ts';
import { makeContext } from '../proxy/assembly/harness.ts';
import { CountingSink } from './counting-sink.ts';
import { LogBook } from './log-book.ts';
import { ManualClock } from './manual-clock.ts';
import { pipePair } from './pipe-pair.ts';

const BUDGET_SLABS = 2;
/** There is no room for its body, whatever waits. */
const LARGE_BYTES = (BUDGET_SLABS + 1) * LIMITS.slabBytes;
const LARGE_REQUEST = requestOf(LARGE_BYTES);
const NOTHING: Amount = { bytes: 0, exchanges: 0 };

function requestOf(bytes: number): Buffer {
  const head = `POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.alloc(bytes, 'x')]);
}

function responseOf(bytes: number): Buffer {
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`),
    Buffer.alloc(bytes),
  ]);
}

export function sumOf(...amounts: readonly Amount[]): Amount {
  return amounts.reduce(
    (sum, { bytes, exchanges }) => ({ bytes: sum.bytes + bytes, exchanges: sum.exchanges + exchanges }),
    NOTHING,
  );
}

/** A part of the capture: what it holds of the traffic, recorded or noted as lost. What is not committed dies. */
class PartSink extends CountingSink {
  held: Amount = NOTHING;
  #uncommitted: Amount = NOTHING;
  wanted = false;
  #dead = false;

  die(): void {
    this.#dead = true;
  }

  override append({ request, response }: Exchange): boolean {
    const asked = request ? requestOf(request.body.bytes).length : 0;
    const answered = response ? responseOf(response.body.bytes).length : 0;
    this.#add({ exchanges: 1, bytes: asked + answered });
    return true;
  }

  override addLoss(loss: Loss): void {
    this.#add(loss);
  }

  override addOmission(omission: Omission): void {
    this.#add(omission);
  }

  override due(): boolean {
    return this.wanted;
  }

  override commit(): CommitResult {
    if (!this.#dead) this.held = sumOf(this.held, this.#uncommitted);
    this.#uncommitted = NOTHING;
    this.wanted = false;
    return { committed: 0, lost: 0, reason: null };
  }

  #add(amount: Amount): void {
    this.#uncommitted = sumOf(this.#uncommitted, amount);
  }
}

/** A pipe between a forwarder's life and a recorder's. */
interface PipeLife {
  readonly slot: number;
  readonly ordinal: number;
  readonly theirs: Duplex;
  readonly ours: Duplex;
  readonly sink: PartSink;
  recorder: Recorder | null;
  /** What the capture held of it at the forwarder's last words. */
  heldAtLastWords: Amount;
  /** The recorder died before it came to its end. */
  cut: boolean;
  told: boolean;
}

/** A forwarder without sockets, from its start to its end. */
class ForwarderLife {
  readonly #clock = new ManualClock();
  readonly #ledger = new Ledger();
  readonly #queue = new SlabQueue(BUDGET_SLABS * LIMITS.slabBytes);
  readonly link = new RecorderLink({ clock: this.#clock, ledger: this.#ledger, queue: this.#queue });
  readonly pipes: PipeLife[] = [];
  readonly #taps: ({ readonly tap: TapConnection; asked: boolean } | null)[] = [];
  /** What had passed by its last words; null before the first. */
  said: Amount | null = null;

  get passed(): Amount {
    const { bytes, turns } = this.#ledger.read().seen;
    return { bytes, exchanges: turns };
  }

  /** The next request of a connection, or the answer to its last one. */
  talk(index: number, large: boolean): void {
    this.#taps[index] ??= { tap: this.link.open(), asked: false };
    const { [index]: talk } = this.#taps;
    if (!talk) return;
    if (talk.asked) talk.tap.server(responseOf(20));
    else talk.tap.client(large ? LARGE_REQUEST : requestOf(10));
    talk.asked = !talk.asked;
  }

  hangUp(index: number): void {
    this.#taps[index]?.tap.close('client_end');
    this.#taps[index] = null;
  }

  flush(): void {
    this.#queue.flush();
  }

  die(): void {
    this.#queue.attach(null);
    this.pipes.at(-1)?.ours.destroy();
    this.pipes.at(-1)?.theirs.push(null);
  }

  async drain(): Promise<ForwarderReading> {
    for (const index of this.#taps.keys()) this.hangUp(index);
    return this.read(await this.link.finish(1_000));
  }

  read(untold: readonly UnreportedLoss[] = this.link.untold()): ForwarderReading {
    this.said = this.passed;
    for (const pipe of this.pipes) pipe.heldAtLastWords = pipe.sink.held;
    const { handed, noted } = this.link;
    return {
      ledger: this.#ledger.read(),
      ...{ turnedAway: 0, failed: {}, refused: {}, queuedBytes: 0, slabShortages: 0, handed },
      untold: untold.map(dated),
      noted: noted.map(dated),
    };
  }

  /** What recorders had noted after its last words, and died before anybody heard of it. */
  get unheard(): Amount {
    if (this.said === null) return NOTHING;
    return sumOf(
      ...this.pipes
        .filter(({ cut }) => cut)
        .map(({ sink: { held }, heldAtLastWords: { bytes, exchanges } }) => ({
          bytes: held.bytes - bytes,
          exchanges: held.exchanges - exchanges,
        })),
    );
  }
}

function dated({ reason, bytes, turns }: UnreportedLoss): Loss {
  return { reason, bytes, exchanges: turns, fromUs: 0, toUs: 0 };
}

/**
 * A recording without processes: forwarders that are killed and come again, a recorder that does, the account between
 * them, and a capture that only adds up. Time does not pass by itself, and what one says the other hears in the same
 * step, unless it is dead or stands still.
 */
export class RecordingLives {
  readonly account = new RecordingAccount({ clock: new ManualClock(), logger: new LogBook() });
  /** Those that run, by their places. */
  readonly forwarders: ForwarderLife[];
  readonly #ended: ForwarderLife[] = [];
  /** What the supervisor had told to recorders. */
  #toldByUs: Amount = NOTHING;
  #pipes: PipeLife[] | null = null;
  #ready = false;
  #hangs = false;

  constructor(forwarders: number) {
    this.forwarders = Array.from({ length: forwarders }, () => new ForwarderLife());
  }

  get #all(): ForwarderLife[] {
    return [...this.#ended, ...this.forwarders];
  }

  /** What forwarders had said by their last words has passed. */
  get said(): Amount {
    return sumOf(...this.#all.map(({ said }) => said ?? NOTHING));
  }

  get passed(): Amount {
    return sumOf(...this.#all.map(({ passed }) => passed));
  }

  get held(): Amount {
    const pipes = this.#all.flatMap((forwarder) => forwarder.pipes);
    return sumOf(this.#toldByUs, ...pipes.map(({ sink }) => sink.held));
  }

  get unheard(): Amount {
    return sumOf(...this.#ended.map(({ unheard }) => unheard));
  }

  /** It has its pipes, and reads none of them yet. */
  startRecorder(): void {
    if (this.#pipes) return;
    this.#pipes = [];
    for (const slot of this.forwarders.keys()) this.#join(slot);
  }

  async openCapture(): Promise<void> {
    if (!this.#pipes || this.#ready) return;
    this.#ready = true;
    for (const pipe of this.#pipes) this.#read(pipe);
    await this.settleDown();
  }

  /** It stands still, or goes on. */
  async freezeRecorder(hangs: boolean): Promise<void> {
    this.#hangs = hangs;
    for (const { theirs, recorder } of this.#pipes ?? []) {
      if (hangs) theirs.pause();
      else if (recorder) theirs.resume();
    }
    await this.settleDown();
  }

  async killRecorder(): Promise<void> {
    if (!this.#pipes) return;
    for (const pipe of this.#pipes) {
      pipe.cut = !pipe.told;
      pipe.told = true;
      pipe.sink.die();
      pipe.theirs.destroy();
      pipe.ours.destroy();
    }
    this.#pipes = null;
    this.#ready = false;
    this.#hangs = false;
    this.account.recorderGone(null);
    await this.settleDown();
  }

  /** @param pipeFirst the recorder comes to the pipe's end before it is known that the forwarder is dead */
  async killForwarder(slot: number, pipeFirst: boolean): Promise<void> {
    const forwarder = this.forwarders[slot] as ForwarderLife;
    forwarder.die();
    if (pipeFirst) await this.settleDown();
    this.#replace(slot);
    await this.settleDown();
  }

  beat(slot: number): void {
    this.account.forwarderSaid(slot, (this.forwarders[slot] as ForwarderLife).read());
  }

  async commit(): Promise<void> {
    if (!this.#hangs) {
      for (const { sink, recorder } of this.#pipes ?? []) {
        sink.wanted = true;
        recorder?.commitIfDue();
      }
    }
    await this.settleDown();
  }

  /** Forwarders write what they have, and what was written is read. */
  async deliver(): Promise<void> {
    for (const forwarder of this.forwarders) forwarder.flush();
    await this.settleDown();
  }

  /** The supervisor tells the recorder what is owed. */
  tell(): void {
    if (!this.#ready || this.#hangs) return;
    const message = this.account.tell();
    if (!message) return;
    this.#toldByUs = sumOf(this.#toldByUs, ...message.losses);
    const beat = { rssBytes: 0, shedding: null, bodiesCut: 0, store: null, recent: [], unwritten: [] };
    const traffic = {} as never;
    this.account.recorderSaid({ ...beat, traffic, heardLosses: message.number });
  }

  /** All end in good order, with a recorder that is well. */
  async end(): Promise<void> {
    this.startRecorder();
    await this.openCapture();
    await this.freezeRecorder(false);
    for (const [slot, forwarder] of this.forwarders.entries()) {
      this.account.forwarderSaid(slot, await forwarder.drain());
      forwarder.die();
      this.account.forwarderEnded(slot);
    }
    await this.settleDown();
    await this.account.resolved(1_000);
    this.tell();
  }

  async settleDown(): Promise<void> {
    for (let turn = 0; turn < 6; turn += 1) await turnOfLoop();
  }

  #replace(slot: number): void {
    this.#ended.push(this.forwarders[slot] as ForwarderLife);
    this.account.forwarderEnded(slot);
    this.forwarders[slot] = new ForwarderLife();
    if (this.#pipes) this.#join(slot);
  }

  #join(slot: number): void {
    const [ours, theirs] = pipePair();
    const ordinal = this.#pipes?.filter((pipe) => pipe.slot === slot).length ?? 0;
    const ends = { recorder: null, cut: false, told: false, heldAtLastWords: NOTHING };
    const pipe: PipeLife = { slot, ordinal, ours, theirs, sink: new PartSink(), ...ends };
    this.#pipes?.push(pipe);
    if (this.#hangs) theirs.pause();
    if (this.#ready) this.#read(pipe);
    this.forwarders[slot]?.pipes.push(pipe);
    this.forwarders[slot]?.link.attach(ours, this.account.joined(slot));
  }

  #read(pipe: PipeLife): void {
    const { slot, ordinal, theirs, sink } = pipe;
    pipe.recorder = new Recorder({ sink, context: makeContext(), clock: new ManualClock() });
    theirs.on('end', () => theirs.destroy());
    pipe.recorder.attach(theirs, slot, (heard) => {
      // A dead one says nothing.
      if (pipe.told) return;
      pipe.told = true;
      this.account.feedEnded({ slot, ordinal, heard });
    });
  }
}
