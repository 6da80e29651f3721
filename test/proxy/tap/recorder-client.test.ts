import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_PROGRESS } from '../../../src/core/accounting.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { PREFACE } from '../../../src/http2/frames.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { BLOCK_BYTES, FrameQueue } from '../../../src/proxy/tap/frame-queue.ts';
import {
  type ConnectionStart,
  decodeMessage,
  encodeSettlements,
  FRAME,
  type Frame,
  FrameReader,
} from '../../../src/proxy/tap/frames.ts';
import type { ConnectionTap, RecorderClient } from '../../../src/proxy/tap/recorder-client.ts';
import { HpackEncoder } from '../../support/hpack-encoder.ts';
import {
  dataFrame,
  FRAME_TYPE,
  frame,
  headerFrames,
  settingsFrame,
  uint32,
} from '../../support/http2-frames.ts';
import { imbalance } from '../../support/imbalance.ts';
import { repeated } from '../../support/long-form.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { RETHROWING, tapSide } from '../../support/tap-side.ts';

interface ModelConnection {
  clientOffset: number;
  serverOffset: number;
  /** Whether a gap was reported since the last settlement. */
  gapped: boolean;
  closed: boolean;
}

/**
 * The recorder's end of a pipe, without assembly or sink. It follows every connection's offsets, checks that they agree
 * with the forwarder's, and settles on request.
 */
class ModelRecorder {
  readonly connections = new Map<number, ModelConnection>();
  readonly faults: string[] = [];
  turnStarts = 0;
  bytes = 0;
  readonly #pipe: Duplex;
  /** Number of the last unanswered flush; 0 for none. */
  #flush = 0;

  constructor(pipe: Duplex) {
    this.#pipe = pipe;
    const reader = new FrameReader((frame) => this.#take(frame));
    pipe.on('data', (chunk: Buffer) => reader.push(chunk));
    pipe.on('error', () => undefined);
  }

  /** Settles everything received so far. */
  settle(): void {
    const settlements = [...this.connections].map(([connection, state]) => {
      const fate = state.gapped
        ? ({ kind: 'lost', because: 'queue_bytes' } as const)
        : ({ kind: 'recorded', because: null } as const);
      state.gapped = false;
      if (state.closed) this.connections.delete(connection);
      const { clientOffset: clientEndOffset, serverOffset: serverEndOffset } = state;
      return { ...fate, connection, clientEndOffset, serverEndOffset, exchanges: 1 };
    });
    this.#pipe.write(encodeSettlements(settlements));
    if (this.#flush === 0) return;
    const flush = { connection: this.#flush, clientEndOffset: 0, serverEndOffset: 0, exchanges: 0 };
    this.#flush = 0;
    this.#pipe.write(encodeSettlements([{ kind: 'flushed', because: null, ...flush }]));
  }

  #take(frame: Frame): void {
    const message = frame.type === FRAME.message ? decodeMessage(frame.payload) : null;
    if (message?.kind === 'open') this.#open(frame, message);
    if (message?.kind === 'flush') {
      this.#flush = message.number;
      setImmediate(() => this.settle());
      return;
    }
    const state = this.connections.get(frame.connection);
    if (!state) {
      this.faults.push(`frame ${frame.type} of unknown connection ${frame.connection}`);
      return;
    }
    if (frame.type === FRAME.clientBytes) state.clientOffset += frame.payload.length;
    if (frame.type === FRAME.serverBytes) state.serverOffset += frame.payload.length;
    if (message === null) this.bytes += frame.payload.length;
    if (frame.turnStart && frame.type === FRAME.clientBytes) this.turnStarts += 1;
    if (message?.kind === 'gap') {
      state.clientOffset += message.clientBytes;
      state.serverOffset += message.serverBytes;
      state.gapped = true;
    }
    if (message?.kind === 'close') {
      state.closed = true;
      const { clientBytes, serverBytes } = message;
      if (state.clientOffset !== clientBytes || state.serverOffset !== serverBytes) {
        const said = `${clientBytes},${serverBytes}`;
        this.faults.push(`close says ${said}, counted ${state.clientOffset},${state.serverOffset}`);
      }
    }
  }

  #open({ connection }: Frame, { clientBytes, serverBytes }: ConnectionStart): void {
    if (this.connections.has(connection)) this.faults.push(`connection ${connection} opened twice`);
    const offsets = { clientOffset: clientBytes, serverOffset: serverBytes };
    this.connections.set(connection, { ...offsets, gapped: false, closed: false });
  }
}

const BALANCED = { bytes: 0, turns: 0 };

class Harness {
  readonly ledger = new Counters();
  readonly queue: FrameQueue;
  readonly link: RecorderClient;
  recorder: ModelRecorder | null = null;
  faults: string[] = [];
  #end: Socket | null = null;

  constructor(budgetBytes: number) {
    this.queue = new FrameQueue(RETHROWING, budgetBytes);
    this.link = tapSide({ clock: systemClock, counters: this.ledger, queue: this.queue }).link;
  }

  async startRecorder(): Promise<void> {
    this.killRecorder();
    const [ours, theirs] = await socketPair();
    this.#end = theirs;
    this.recorder = new ModelRecorder(theirs);
    this.link.attach(ours);
    this.link.captureOpened(NO_PROGRESS);
  }

  killRecorder(): void {
    this.#end?.destroy();
    this.faults.push(...(this.recorder?.faults ?? []));
    this.recorder = null;
    this.#end = null;
  }

  /** Lets frames and settlements through. */
  async settleDown(): Promise<void> {
    this.queue.flush();
    await sleep(3);
  }
}

async function exchange(harness: Harness, tap: ConnectionTap): Promise<void> {
  tap.client(Buffer.alloc(100));
  tap.server(Buffer.alloc(900));
  await harness.settleDown();
}

describe('the link to the recorder', () => {
  it('settles what the recorder acknowledges and retires a connection that is closed and settled', async () => {
    const harness = new Harness(1 << 20);
    await harness.startRecorder();
    const tap = harness.link.open();
    await exchange(harness, tap);
    tap.close('client_end');
    await harness.settleDown();
    expect(harness.ledger.read().unsettledConnections).toBe(1);
    harness.recorder?.settle();
    await harness.settleDown();
    expect(harness.ledger.read()).toMatchObject({
      unsettledConnections: 0,
      recorded: { bytes: 1000, turns: 1 },
      pending: BALANCED,
    });
  });

  it('holds in doubt what a dead recorder had not acknowledged, until the next one has read the capture', async () => {
    const harness = new Harness(1 << 20);
    await harness.startRecorder();
    const tap = harness.link.open();
    await exchange(harness, tap);
    harness.killRecorder();
    await harness.settleDown();
    tap.client(Buffer.alloc(30));
    expect(harness.ledger.read()).toMatchObject({
      pending: { bytes: 1000, turns: 1 },
      lost: { writer_down: { bytes: 30, turns: 1 } },
    });
    // The capture holds a part of it: the commit had succeeded, and nobody read the acknowledgement.
    harness.link.captureOpened({ bytes: 600, turns: 1, exchanges: 1 });
    expect(harness.ledger.read()).toMatchObject({
      pending: BALANCED,
      recorded: { bytes: 600, turns: 1 },
      exchanges: 1,
      lost: { writer_down: { bytes: 430, turns: 1 } },
    });
    await harness.startRecorder();
    tap.server(Buffer.alloc(5));
    await exchange(harness, tap);
    await harness.link.finish(1000);
    expect(harness.ledger.read()).toMatchObject({
      lost: { writer_down: { bytes: 435, turns: 1 } },
      recorded: { bytes: 1600, turns: 2 },
      pending: BALANCED,
    });
  });

  it('calls lost at once what a recorder had that never opened the capture', async () => {
    const harness = new Harness(1 << 20);
    const [ours, theirs] = await socketPair();
    harness.link.attach(ours);
    await exchange(harness, harness.link.open());
    theirs.destroy();
    await expect.poll(() => harness.link.attached, { timeout: 10_000 }).toBe(false);
    expect(harness.ledger.read()).toMatchObject({
      lost: { writer_down: { bytes: 1000, turns: 1 } },
      pending: BALANCED,
    });
  });

  it('calls lost what is in doubt at the end', async () => {
    const harness = new Harness(1 << 20);
    await harness.startRecorder();
    await exchange(harness, harness.link.open());
    harness.killRecorder();
    await harness.settleDown();
    await harness.link.finish(1000);
    expect(harness.ledger.read()).toMatchObject({
      lost: { writer_down: { bytes: 1000, turns: 1 } },
      pending: BALANCED,
    });
  });

  it('sheds to the end of the turn when the budget is spent and never holds more than the budget', async () => {
    const budgetBytes = 1024 * 1024;
    const harness = new Harness(budgetBytes);
    await harness.startRecorder();
    const tap = harness.link.open();
    // Nothing is written while this turn of the event loop lasts, so the queue fills up.
    for (let chunk = 0; chunk < 50; chunk += 1) tap.client(Buffer.alloc(60_000));
    expect(harness.queue.heldBytes).toBeLessThanOrEqual(budgetBytes);
    const shed = harness.ledger.read().lost.queue_bytes;
    expect(shed?.bytes).toBeGreaterThanOrEqual(50 * 60_000 - budgetBytes);
    await harness.settleDown();
    tap.server(Buffer.alloc(10));
    await exchange(harness, tap);
    tap.close('client_end');
    await harness.link.finish(1000);
    expect(harness.faults.concat(harness.recorder?.faults ?? [])).toEqual([]);
    expect(imbalance(harness.ledger.read())).toEqual(BALANCED);
    expect(harness.ledger.read().pending).toEqual(BALANCED);
  });

  it('counts what is pending at the deadline as lost and says so', async () => {
    const harness = new Harness(1 << 20);
    const [ours] = await socketPair();
    harness.link.attach(ours);
    const tap = harness.link.open();
    tap.client(Buffer.alloc(10));
    await harness.link.finish(1);
    expect(harness.ledger.read().lost).toMatchObject({ shutdown_timeout: { bytes: 10, turns: 1 } });
    expect(harness.ledger.read().pending).toEqual(BALANCED);
  });

  it('holds no connection open that had closed before the deadline passed', async () => {
    const harness = new Harness(1 << 20);
    const [ours] = await socketPair();
    harness.link.attach(ours);
    const closed = harness.link.open();
    closed.client(Buffer.alloc(10));
    closed.close('client_end');
    harness.link.open().client(Buffer.alloc(5));
    await harness.link.finish(1);
    expect(harness.ledger.read()).toMatchObject({ unsettledConnections: 1, pending: BALANCED });
  });

  it('keeps the equation exact through any history of traffic, shedding, crashes and restarts', async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('client' as const), tap: fc.nat(3), bytes: fc.nat(300_000) }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('server' as const), tap: fc.nat(3), bytes: fc.nat(300_000) }),
      },
      fc.record({ do: fc.constant('close' as const), tap: fc.nat(3) }),
      { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
      fc.record({ do: fc.constant('kill' as const) }),
      fc.record({ do: fc.constant('start' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
        const budgetBytes = 512 * 1024;
        const harness = new Harness(budgetBytes);
        await harness.startRecorder();
        const taps: (ConnectionTap | undefined)[] = [];
        for (const one of steps) {
          if (one.do === 'client' || one.do === 'server') {
            taps[one.tap] ??= harness.link.open();
            taps[one.tap]?.[one.do](Buffer.alloc(one.bytes + 1));
          } else if (one.do === 'close') {
            taps[one.tap]?.close('client_end');
            taps[one.tap] = undefined;
          } else if (one.do === 'settle') harness.recorder?.settle();
          else if (one.do === 'kill') harness.killRecorder();
          else if (one.do === 'start') await harness.startRecorder();
          if (one.do === 'wait' || one.do === 'kill' || one.do === 'start') await harness.settleDown();
          expect(imbalance(harness.ledger.read())).toEqual(BALANCED);
          // What closes accounts goes through over the budget; all of a history's fits two blocks.
          expect(harness.queue.heldBytes).toBeLessThanOrEqual(budgetBytes + 2 * BLOCK_BYTES);
        }
        for (const tap of taps) tap?.close('client_end');
        await harness.link.finish(200);
        const reading = harness.ledger.read();
        expect(imbalance(reading)).toEqual(BALANCED);
        expect(reading.pending).toEqual(BALANCED);
        harness.killRecorder();
        expect(harness.faults).toEqual([]);
      }),
      // A failure that is still being shrunk when the test's time is over would be told as a time-out.
      {
        numRuns: repeated(25, 100),
        plugins: [fc.interruptAfterTimeLimit(100_000, { failOnInterrupt: true })],
      },
    );
  });
});

it('announces nothing to a full queue, whose announcements would fill it further', async () => {
  const [forwarderEnd, recorderEnd] = await socketPair();
  const counters = new Counters();
  const queue = new FrameQueue(RETHROWING, BLOCK_BYTES);
  const { link } = tapSide({ clock: systemClock, counters, queue });
  recorderEnd.pause();
  forwarderEnd.cork();
  link.attach(forwarderEnd);
  const feed = () => {
    const tap = link.open(undefined, false);
    tap.client(Buffer.alloc(1_000, 'a'));
    tap.server(Buffer.alloc(1_000, 'b'));
    tap.close('client_end');
  };
  while (counters.read().lost.queue_bytes === undefined) feed();
  const { heldBytes } = queue;
  const unsettled = counters.read().unsettledConnections;
  for (let nth = 0; nth < 2_000; nth += 1) feed();
  expect(queue.heldBytes - heldBytes).toBeLessThanOrEqual(BLOCK_BYTES);
  const reading = counters.read();
  expect(reading.unsettledConnections - unsettled).toBeLessThan(5);
  expect(reading.lost.queue_bytes?.turns).toBeGreaterThan(1_990);
  expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
  forwarderEnd.destroy();
  recorderEnd.destroy();
});

it.each([
  ['large', 5_000, 1_000],
  ['reset before they have sent anything', 0, 20_000],
])(
  'a client of HTTP/2 that fills the queue is shed before the others, by streams that are %s',
  async (_, bytes, streams) => {
    const [forwarderEnd, recorderEnd] = await socketPair();
    const counters = new Counters();
    const queue = new FrameQueue(RETHROWING, 16 * BLOCK_BYTES);
    const { link, border } = tapSide({ clock: systemClock, counters, queue });
    recorderEnd.pause();
    forwarderEnd.cork();
    link.attach(forwarderEnd);
    const caller = () => {
      const wire = border.openWire();
      const encoder = new HpackEncoder();
      wire.client(Buffer.concat([PREFACE, settingsFrame()]));
      let stream = -1;
      return () => {
        stream += 2;
        const head = encoder.encode([
          [':method', 'POST'],
          [':path', '/'],
        ]);
        const rest =
          bytes > 0
            ? dataFrame(stream, Buffer.alloc(bytes), { endStream: true })
            : frame(FRAME_TYPE.reset, 0, stream, uint32(8));
        wire.client(Buffer.concat([headerFrames(stream, head), rest]));
      };
    };
    const [floods, calls] = [caller(), caller()];
    for (let nth = 0; nth < streams; nth += 1) floods();
    const lost = counters.read().lost.queue_bytes?.turns ?? 0;
    expect(lost).toBeGreaterThan(bytes > 0 ? 800 : 2_000);
    expect(queue.fill).toBeLessThan(0.7);
    for (let nth = 0; nth < 20; nth += 1) calls();
    expect(counters.read().lost.queue_bytes?.turns).toBe(lost);
    expect(imbalance(counters.read())).toEqual({ bytes: 0, turns: 0 });
    forwarderEnd.destroy();
    recorderEnd.destroy();
  },
);
