import { setImmediate as turnOfLoop } from 'node:timers/promises';
import type { Amount } from '../../src/core/accounting.ts';
import { Recorder } from '../../src/proxy/recorder.ts';
import { RecordingAccount } from '../../src/proxy/recording-account.ts';
import { makeContext } from '../proxy/recorder/harness.ts';
import { ForwarderLife, NOTHING, PartSink, type PipeLife, sumOf } from './forwarder-life.ts';
import { LogBook } from './log-book.ts';
import { ManualClock } from './manual-clock.ts';
import { pipePair } from './pipe-pair.ts';

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
