import { Duplex } from 'node:stream';
import { setImmediate as turnOfLoop } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_PROGRESS, type Progress } from '../../../src/core/accounting.ts';
import type { CommitResult } from '../../../src/core/ports.ts';
import { PipeServer } from '../../../src/proxy/recorder/pipe-server.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import type { ConnectionTap } from '../../../src/proxy/tap/recorder-client.ts';
import { CountingSink } from '../../support/counting-sink.ts';
import { imbalance } from '../../support/imbalance.ts';
import { repeated } from '../../support/long-form.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { tapSide } from '../../support/tap-side.ts';
import { makeContext } from './harness.ts';

/** One end of a pipe within this process. Like a socket, it copies data for the reader and has a limited buffer. */
class PipeEnd extends Duplex {
  other: PipeEnd | null = null;
  #onRead: (() => void) | null = null;

  override _read(): void {
    const onRead = this.#onRead;
    this.#onRead = null;
    onRead?.();
  }

  override _write(chunk: Buffer, _: BufferEncoding, written: () => void): void {
    this.other?.receive(chunk, written);
  }

  receive(chunk: Buffer, written: () => void): void {
    const copy = Buffer.allocUnsafeSlow(chunk.length);
    copy.set(chunk);
    if (this.destroyed || this.push(copy)) written();
    else this.#onRead = written;
  }
}

/** Two ends of a pipe without system calls and delays. */
function pipePair(): [Duplex, Duplex] {
  const [one, other] = [new PipeEnd(), new PipeEnd()];
  one.other = other;
  other.other = one;
  return [one, other];
}

const REQUEST = Buffer.from('POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody');
const RESPONSE = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');

/** What outlives a recorder: rows, and how far it had come, in one transaction. */
class Disk {
  rows = 0;
  progress: Progress = NO_PROGRESS;
}

/** A sink that dies when it is told to: before a commit, or behind one whose acknowledgement nobody reads. */
class MortalSink extends CountingSink {
  readonly #disk: Disk;
  readonly #die: () => void;
  diesBehindCommit = false;
  dead = false;
  wanted = false;
  #pending = 0;

  constructor(disk: Disk, die: () => void) {
    super();
    this.#disk = disk;
    this.#die = die;
  }

  override append(): boolean {
    this.#pending += 1;
    return true;
  }

  override due(): boolean {
    return this.wanted;
  }

  override commit(progress?: Progress): CommitResult {
    this.wanted = false;
    const committed = this.#pending;
    this.#pending = 0;
    if (this.dead) return { committed: 0, lost: [], reason: null };
    this.#disk.rows += committed;
    if (progress) this.#disk.progress = progress;
    if (this.diesBehindCommit) this.#die();
    return { committed, lost: [], reason: null };
  }
}

/** A proxy that goes on, and recorders that come and go. */
class Lives {
  readonly disk = new Disk();
  readonly ledger = new Counters();
  readonly #clock = new ManualClock();
  readonly link = tapSide({ clock: this.#clock, counters: this.ledger }).link;
  #life: { readonly theirs: Duplex; readonly sink: MortalSink; readonly recorder: PipeServer } | null = null;

  async start(): Promise<void> {
    if (this.#life) return;
    const [ours, theirs] = pipePair();
    const sink = new MortalSink(this.disk, () => theirs.destroy());
    const { progress } = this.disk;
    const recorder = new PipeServer({ sink, context: makeContext(), clock: this.#clock }, progress);
    this.#life = { theirs, sink, recorder };
    this.link.attach(ours);
    // What it says before all else, once it has read the capture.
    this.link.captureOpened(progress);
    recorder.attach(theirs);
    await this.settleDown();
  }

  async kill(behindCommit: boolean): Promise<void> {
    if (!this.#life) return;
    const { sink, recorder, theirs } = this.#life;
    if (behindCommit) {
      sink.diesBehindCommit = true;
      sink.wanted = true;
      recorder.commitIfDue();
    } else theirs.destroy();
    sink.dead = true;
    this.#life = null;
    await this.settleDown();
  }

  async commit(): Promise<void> {
    if (this.#life) this.#life.sink.wanted = true;
    this.#life?.recorder.commitIfDue();
    await this.settleDown();
  }

  async settleDown(): Promise<void> {
    this.link.queue.flush();
    for (let turn = 0; turn < 6; turn += 1) await turnOfLoop();
  }
}

describe('what passed is recorded or lost, and once', () => {
  it('whenever recorders are killed, be it between a commit and its acknowledgement', async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('talk' as const), tap: fc.nat(3) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('commit' as const) }) },
      fc.record({ do: fc.constant('close' as const), tap: fc.nat(3) }),
      fc.record({ do: fc.constant('kill' as const), behindCommit: fc.boolean() }),
      { weight: 2, arbitrary: fc.record({ do: fc.constant('start' as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const lives = new Lives();
        await lives.start();
        const taps: ({ readonly tap: ConnectionTap; asked: boolean } | undefined)[] = [];
        for (const one of steps) {
          if (one.do === 'talk') {
            taps[one.tap] ??= { tap: lives.link.open(), asked: false };
            const talk = taps[one.tap] as { readonly tap: ConnectionTap; asked: boolean };
            if (talk.asked) talk.tap.server(RESPONSE);
            else talk.tap.client(REQUEST);
            talk.asked = !talk.asked;
            await lives.settleDown();
          } else if (one.do === 'close') {
            taps[one.tap]?.tap.close('client_end');
            taps[one.tap] = undefined;
          } else if (one.do === 'commit') await lives.commit();
          else if (one.do === 'start') await lives.start();
          else await lives.kill(one.behindCommit);
          expect(imbalance(lives.ledger.read())).toEqual({ bytes: 0, turns: 0 });
        }
        for (const talk of taps) talk?.tap.close('client_end');
        await lives.start();
        await lives.commit();
        await lives.link.finish(1_000);
        const { seen, recorded, lost, pending, exchanges } = lives.ledger.read();
        const lostTurns = Object.values(lost).reduce((sum, { turns }) => sum + turns, 0);
        expect(pending).toEqual({ bytes: 0, turns: 0 });
        expect(recorded.turns + lostTurns).toBe(seen.turns);
        // The capture holds what is called recorded, and nothing that is called lost.
        expect([exchanges, recorded.turns, lives.disk.progress.turns]).toEqual(
          Array.from({ length: 3 }, () => lives.disk.rows),
        );
      }),
      {
        numRuns: repeated(37, 150),
        plugins: [fc.interruptAfterTimeLimit(100_000, { failOnInterrupt: true })],
      },
    );
  });
});
