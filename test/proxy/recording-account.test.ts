import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Ledger } from '../../src/proxy/ledger.ts';
import { LedgerFile } from '../../src/proxy/ledger-file.ts';
import type { ForwarderReading } from '../../src/proxy/messages.ts';
import { RecorderLink } from '../../src/proxy/recorder-link.ts';
import { RecordingAccount } from '../../src/proxy/recording-account.ts';
import { FrameQueue } from '../../src/proxy/tap/frame-queue.ts';
import type { TapConnection } from '../../src/proxy/tap-connection.ts';
import { imbalance } from '../support/imbalance.ts';
import { LogBook } from '../support/log-book.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { ModelRecorder } from '../support/model-recorder.ts';
import { socketPair } from '../support/socket-pair.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const BALANCED = { bytes: 0, turns: 0 };
const FORWARDERS = 3;
const TAPS = 2;
const BUDGET_BYTES = 512 * 1024;

/** A forwarder without sockets: its account, its link, its connections. */
class ForwarderModel {
  readonly #ledger = new Ledger();
  readonly #queue = new FrameQueue(BUDGET_BYTES);
  readonly link = new RecorderLink({ clock: systemClock, ledger: this.#ledger, queue: this.#queue });
  readonly taps: (TapConnection | undefined)[] = [];

  tap(index: number): TapConnection {
    this.taps[index] ??= this.link.open();
    return this.taps[index];
  }

  read(): ForwarderReading {
    return {
      atUs: 0,
      ledger: this.#ledger.read(),
      open: 0,
      turnedAway: 0,
      failed: {},
      refused: {},
      queuedBytes: this.#queue.heldBytes,
      untold: this.link
        .untold()
        .map(({ reason, bytes, turns }) => ({ reason, bytes, exchanges: turns, fromUs: 0, toUs: 0 })),
      noted: [],
      handed: this.link.handed,
    };
  }

  flush(): void {
    this.#queue.flush();
  }
}

/** Several forwarders, a recorder that comes and goes, and the account of all of it. */
class Stage {
  readonly account = new RecordingAccount({ clock: systemClock, logger: new LogBook() });
  forwarders = Array.from({ length: FORWARDERS }, () => new ForwarderModel());
  #pipes: (Socket | undefined)[] = [];
  #recorders: (ModelRecorder | undefined)[] = [];

  async startRecorder(): Promise<void> {
    this.killRecorder();
    for (const slot of this.forwarders.keys()) await this.#join(slot);
  }

  killRecorder(): void {
    for (const pipe of this.#pipes) pipe?.destroy();
    this.#pipes = [];
    this.#recorders = [];
  }

  /** It dies as it was at its last reading, and another one takes its place. */
  async restartForwarder(slot: number): Promise<void> {
    const recorded = this.#pipes[slot] !== undefined;
    this.#pipes[slot]?.destroy();
    this.account.forwarderEnded(slot);
    this.forwarders[slot] = new ForwarderModel();
    if (recorded) await this.#join(slot);
  }

  settle(): void {
    for (const recorder of this.#recorders) recorder?.settle();
  }

  async settleDown(): Promise<void> {
    for (const forwarder of this.forwarders) forwarder.flush();
    await sleep(3);
    this.beat();
  }

  beat(): void {
    for (const [slot, forwarder] of this.forwarders.entries())
      this.account.forwarderSaid(slot, forwarder.read());
  }

  async #join(slot: number): Promise<void> {
    const [ours, theirs] = await socketPair();
    this.#pipes[slot] = theirs;
    this.#recorders[slot] = new ModelRecorder(theirs);
    this.forwarders[slot]?.link.attach(ours);
  }
}

const place = { forwarder: fc.nat(FORWARDERS - 1), tap: fc.nat(TAPS - 1) };
/** Some for which there is no room, whatever waits. */
const bytes = fc.oneof(fc.nat(90_000), fc.constant(BUDGET_BYTES + 1));
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('client' as const), ...place, bytes }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('server' as const), ...place, bytes }),
  },
  fc.record({ do: fc.constant('close' as const), ...place }),
  fc.record({ do: fc.constant('quarantine' as const), ...place }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  fc.record({ do: fc.constant('start recorder' as const) }),
  // An operator's pause looks no different from here: nobody listens.
  fc.record({ do: fc.constant('kill recorder' as const) }),
  fc.record({ do: fc.constant('restart forwarder' as const), forwarder: place.forwarder }),
);

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

async function play(stage: Stage, one: Step): Promise<void> {
  if (one.do === 'start recorder') await stage.startRecorder();
  else if (one.do === 'kill recorder') stage.killRecorder();
  else if (one.do === 'restart forwarder') await stage.restartForwarder(one.forwarder);
  else if (one.do === 'settle') stage.settle();
  else if (one.do === 'wait') await stage.settleDown();
  else {
    const forwarder = stage.forwarders[one.forwarder] as ForwarderModel;
    if (one.do === 'close') {
      forwarder.taps[one.tap]?.close('client_end');
      forwarder.taps[one.tap] = undefined;
    } else if (one.do === 'quarantine') forwarder.link.quarantine(forwarder.tap(one.tap).connection);
    else forwarder.tap(one.tap)[one.do](Buffer.alloc(one.bytes + 1));
  }
}

describe('the account of a recording', () => {
  it('is exact at every reading, whatever happens to forwarders, recorder and connections', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const stage = new Stage();
        await stage.startRecorder();
        for (const one of steps) {
          await play(stage, one);
          // Readings are taken at any moment, and what was read may be older than what has happened since.
          expect(imbalance(stage.account.reading.ledger)).toEqual(BALANCED);
          stage.beat();
          const { ledger } = stage.account.reading;
          expect(imbalance(ledger)).toEqual(BALANCED);
          expect(Math.min(ledger.pending.bytes, ledger.pending.turns)).toBeGreaterThanOrEqual(0);
        }
        for (const { taps } of stage.forwarders) for (const tap of taps) tap?.close('client_end');
        await Promise.all(stage.forwarders.map(({ link }) => link.finish(200)));
        stage.beat();
        const { ledger } = stage.account.reading;
        expect(imbalance(ledger)).toEqual(BALANCED);
        expect(ledger.pending).toEqual(BALANCED);
        expect(ledger.unsettledConnections).toBe(0);
        stage.killRecorder();
      }),
      // A failure that is still being shrunk when the test's time is over would be told as a time-out. Too slow is one.
      { numRuns: 250, plugins: [fc.interruptAfterTimeLimit(25_000, { failOnInterrupt: true })] },
    );
  });

  it('goes down with nobody: what a forwarder had not told is told to the recorder that is there', async () => {
    const stage = new Stage();
    const [forwarder] = stage.forwarders;
    forwarder?.tap(0).client(Buffer.alloc(500));
    stage.beat();
    await stage.restartForwarder(0);
    expect(stage.account.tell()?.losses).toMatchObject([{ reason: 'writer_down', bytes: 500, exchanges: 1 }]);
    expect(stage.account.tell()).toBeNull();
  });

  it('is owed what a dead forwarder had on its way, should everybody end before the recorder says what it heard', async () => {
    const directory = temporaryDirectory();
    const account = new RecordingAccount({ clock: systemClock, logger: new LogBook() });
    await account.captureReady(directory);
    const forwarder = new ForwarderModel();
    const [ours, theirs] = await socketPair();
    forwarder.link.attach(ours, account.joined(0));
    forwarder.tap(0).client(Buffer.alloc(700));
    account.forwarderSaid(0, forwarder.read());
    account.forwarderEnded(0);
    await account.beat();
    const ledger = await LedgerFile.open(directory);
    const owed = ledger.untold('', systemClock.epochUs());
    await ledger.close();
    expect(owed).toMatchObject([{ reason: 'crash_gap', bytes: 700, exchanges: 1 }]);
    account.feedEnded({ slot: 0, ordinal: 0, heard: { bytes: 700, turns: 1, losses: [] } });
    expect(account.owes).toBe(false);
    for (const pipe of [ours, theirs]) pipe.destroy();
  });
});

describe('a quarantined connection', () => {
  it('is told to the capture as omitted when it ends, from the moment on that it was', async () => {
    const stage = new Stage();
    const [forwarder] = stage.forwarders as [ForwarderModel];
    const tap = forwarder.tap(0);
    tap.client(Buffer.alloc(100));
    forwarder.link.quarantine(tap.connection);
    await stage.startRecorder();
    tap.server(Buffer.alloc(30));
    tap.client(Buffer.alloc(20));
    await stage.settleDown();
    const { ledger } = stage.account.reading;
    expect(ledger.lost).toEqual({ writer_down: { bytes: 100, turns: 1 } });
    expect(ledger.omitted).toEqual({ unparsed: { bytes: 50, turns: 1 } });
    tap.close('client_end');
    expect(stage.forwarders[0]?.read().ledger.unsettledConnections).toBe(0);
    stage.killRecorder();
  });
});

describe('clients that were turned away', () => {
  it('are a warning at once, and then one a minute with the count since, where the log said nothing', async () => {
    const clock = new ManualClock();
    const log = new LogBook();
    const account = new RecordingAccount({ clock, logger: log });
    const counted = () => log.lines.map(({ level, fields }) => ({ level, ...fields }));
    const pass = async (seconds: number, turnedAway: number) => {
      clock.advance(seconds * 1e9);
      account.forwarderSaid(0, { ...new ForwarderModel().read(), turnedAway });
      await account.beat();
    };
    await pass(1, 0);
    expect(counted()).toEqual([]);
    for (const turnedAway of [7, 500, 1_000]) await pass(1, turnedAway);
    expect(counted()).toEqual([{ level: 'warn', connections: 7, turnedAway: 7 }]);
    await pass(60, 1_200);
    expect(counted()[1]).toEqual({ level: 'warn', connections: 1_193, turnedAway: 1_200 });
    await pass(600, 1_200);
    expect(counted()).toHaveLength(2);
  });
});
