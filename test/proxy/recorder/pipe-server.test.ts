import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { PipeServer } from '../../../src/proxy/recorder/pipe-server.ts';
import { Counters } from '../../../src/proxy/tap/counters.ts';
import { FrameQueue } from '../../../src/proxy/tap/frame-queue.ts';
import { UNKNOWN_ORIGIN } from '../../../src/proxy/tap/frames.ts';
import { CountingSink } from '../../support/counting-sink.ts';
import { ANSWER_HEAD, callHead, fedData, fedEnd, grpcMessage } from '../../support/grpc.ts';
import { imbalance } from '../../support/imbalance.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { RETHROWING, tapSide } from '../../support/tap-side.ts';
import { makeContext } from './harness.ts';

const ANSWER_BYTES = 256 * 1024;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Both ends of a pipe: the forwarder's account, and what the recorder's sink is told. */
async function bothEnds(budgetBytes: number) {
  const [forwarderEnd, recorderEnd] = await socketPair();
  const sink = new CountingSink();
  const ledger = new Counters();
  const queue = new FrameQueue(RETHROWING, budgetBytes);
  const { link } = tapSide({ clock: systemClock, counters: ledger, queue });
  const recorder = new PipeServer({ sink, context: makeContext(), clock: systemClock });
  link.attach(forwarderEnd);
  ends.push(
    () => forwarderEnd.destroy(),
    () => recorderEnd.destroy(),
  );
  return { link, ledger, sink, queue, recorder, startReading: () => recorder.attach(recorderEnd) };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

const REQUEST = Buffer.from('POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody');
const RESPONSE = responseOf(2);

function responseOf(bytes: number): Buffer {
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`),
    Buffer.alloc(bytes, 'x'),
  ]);
}

describe('what the capture is told', () => {
  it('names the turns shed while the recorder was slow, not their bytes alone', async () => {
    const { link, ledger, sink, queue, startReading } = await bothEnds(2 * ANSWER_BYTES);
    const tap = link.open();
    // Some large answers spend the budget, and the turns after them are shed.
    for (let turn = 0; turn < 10; turn += 1) {
      tap.client(REQUEST);
      tap.server(responseOf(ANSWER_BYTES / 2));
    }
    startReading();
    queue.flush();
    await until(() => queue.heldBytes === 0);
    tap.client(REQUEST);
    tap.server(RESPONSE);
    tap.close('client_end');
    await link.finish(5_000);
    const reading = ledger.read();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    const lost = reading.lost.queue_bytes;
    expect(lost?.turns).toBeGreaterThan(5);
    expect(sink.exchanges).toHaveLength(11 - (lost?.turns ?? 0));
    // What was shed is counted once, by the proxy.
    expect(lost?.exchanges).toBe(lost?.turns);
  });

  it('stores nothing that comes through the pipe after it was closed', async () => {
    const { link, ledger, sink, queue, recorder, startReading } = await bothEnds(64 * ANSWER_BYTES);
    startReading();
    const before = link.open();
    before.client(REQUEST);
    before.server(RESPONSE);
    before.close('client_end');
    await until(() => ledger.read().recorded.turns === 1);
    recorder.close('writer_down');
    const after = link.open();
    after.client(REQUEST);
    after.server(RESPONSE);
    after.close('client_end');
    queue.flush();
    await sleep(50);
    expect(sink.exchanges).toHaveLength(1);
    await link.finish(1);
    expect(ledger.read()).toMatchObject({ recorded: { turns: 1 }, lost: { shutdown_timeout: { turns: 1 } } });
  });

  it('is counted as recorded where it was committed after a flush that came too late', async () => {
    const { link, ledger, sink, queue, recorder, startReading } = await bothEnds(64 * ANSWER_BYTES);
    const tap = link.open();
    tap.client(REQUEST);
    tap.server(RESPONSE);
    tap.close('client_end');
    await link.flush(1);
    expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
    startReading();
    queue.flush();
    await until(() => sink.exchanges.length === 1);
    recorder.close('crash_gap');
    await link.finish(1_000);
    expect(ledger.read()).toMatchObject({ recorded: { turns: 1 }, lost: {}, pending: { turns: 0 } });
  });

  it('holds the bytes of a tunnel that were not copied any more', async () => {
    const { link, ledger, sink, startReading } = await bothEnds(64 * ANSWER_BYTES);
    startReading();
    const tap = link.open();
    tap.client(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'));
    await until(() => (ledger.read().omitted.unparsed?.bytes ?? 0) > 0);
    await until(() => ledger.read().pending.bytes === 0);
    for (let chunk = 0; chunk < 50; chunk += 1) tap.server(Buffer.alloc(1_000));
    tap.close('client_end');
    await link.finish(5_000);
    const omitted = ledger.read().omitted.unparsed;
    expect(omitted?.bytes).toBe(50_024);
    expect(sink.protocolUses).toEqual([{ protocol: 'h2', connections: 1, bytes: 50_024 }]);
  });
});

describe('the streams of an HTTP/2 connection', () => {
  it('are exchanges of one connection, and their bytes are those of h2', async () => {
    const { link, ledger, sink, queue, startReading } = await bothEnds(64 * ANSWER_BYTES);
    startReading();
    const first = link.open({ ...UNKNOWN_ORIGIN, peer: '192.0.2.1' }, false);
    const second = link.open({ ...UNKNOWN_ORIGIN, clientConnection: first.connection }, false);
    const head = callHead('/a.B/C');
    const request = Buffer.concat([head, fedData(grpcMessage('x')), fedEnd()]);
    const answer = Buffer.concat([Buffer.from(ANSWER_HEAD), fedEnd('grpc-status: 0')]);
    for (const tap of [first, second]) tap.client(request);
    for (const tap of [second, first]) {
      tap.server(answer);
      tap.close('client_end');
    }
    queue.flush();
    await until(() => sink.exchanges.length === 2);
    await link.finish(5_000);
    const bytes = request.length + answer.length;
    expect(sink.exchanges.map(({ connection }) => connection)).toEqual([first.connection, first.connection]);
    expect(sink.protocolUses).toEqual([
      { protocol: 'h2', connections: 0, bytes },
      { protocol: 'h2', connections: 1, bytes },
    ]);
    expect(ledger.read()).toMatchObject({
      seen: { bytes: 2 * bytes },
      recorded: { turns: 2, bytes: 2 * bytes },
      omitted: {},
    });
  });
});

describe('what the forwarder is told', () => {
  it('comes though nothing follows an exchange that waits for its commit', async () => {
    const { link, ledger, sink, queue, startReading } = await bothEnds(64 * ANSWER_BYTES);
    sink.due = () => false;
    startReading();
    const tap = link.open();
    tap.client(REQUEST);
    tap.server(RESPONSE);
    queue.flush();
    await until(() => ledger.read().recorded.turns === 1);
  });

  it('never calls recorded what the sink could not store', async () => {
    const { link, ledger, sink, startReading } = await bothEnds(16 * ANSWER_BYTES);
    sink.encodes = false;
    const tap = link.open();
    tap.client(REQUEST);
    tap.server(RESPONSE);
    tap.close('client_end');
    startReading();
    await until(() => ledger.read().unsettledConnections === 0);
    const bytes = REQUEST.length + RESPONSE.length;
    expect(ledger.read()).toMatchObject({ lost: { encode_failed: { bytes, turns: 1 } }, exchanges: 0 });
    expect(ledger.read().recorded).toEqual({ bytes: 0, turns: 0 });
    expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
  });
});

describe('a batch of which the database refuses one row', () => {
  it('loses that exchange alone, also where its connection has others before and after it', async () => {
    const { link, ledger, sink, startReading } = await bothEnds(16 * ANSWER_BYTES);
    sink.refuses = ({ route }) => route === 'GET /refused';
    const tap = link.open();
    for (const path of ['/a', '/refused', '/b']) {
      tap.client(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`));
      tap.server(RESPONSE);
    }
    tap.close('client_end');
    startReading();
    await until(() => ledger.read().unsettledConnections === 0);
    const { recorded, lost, exchanges } = ledger.read();
    expect([recorded.turns, exchanges, lost.encode_failed?.turns]).toEqual([2, 2, 1]);
    expect(sink.exchanges.map(({ route }) => route)).toEqual(['GET /a', 'GET /b']);
    expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
  });
});

describe('what looks like HTTP behind a loss', () => {
  it.each([
    ['is recorded of a client connection that asked for one thing after the other', 1],
    ['is not recorded of an exchange fed by itself, whose tunnel may carry anything', 0],
  ])('%s', async (_, recorded) => {
    const { link, ledger, queue, sink, startReading } = await bothEnds(2 * ANSWER_BYTES);
    const tap = link.open(UNKNOWN_ORIGIN, recorded === 1);
    const interim = Buffer.from('HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    tap.client(Buffer.from('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'));
    tap.server(Buffer.concat([interim, responseOf(2 * ANSWER_BYTES)]));
    startReading();
    queue.flush();
    await until(() => queue.heldBytes === 0);
    tap.client(REQUEST);
    tap.server(RESPONSE);
    tap.close('client_end');
    await until(() => ledger.read().unsettledConnections === 0);
    expect(sink.exchanges).toHaveLength(recorded);
    expect(imbalance(ledger.read())).toEqual({ bytes: 0, turns: 0 });
  });
});
