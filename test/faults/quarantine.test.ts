import { describe, expect, it } from 'vitest';
import { inspectCapture } from '../../src/storage/capture/inspect.ts';
import { untilStatus } from '../support/control.ts';
import { imbalance } from '../support/imbalance.ts';
import { Client } from '../support/one-request.ts';
import { RawServer } from '../support/raw-server.ts';
import { MORTAL_RECORDER, startSupervised } from '../support/supervised.ts';

const POISON = 'GET /poison HTTP/1.1\r\nHost: h\r\n\r\n';

describe('a connection that the recorder dies of', () => {
  // The wire's alone: there a connection goes on to the next recorder. A gateway feeds each exchange by itself.
  it('is left out of the wire after the second death, and everybody else is recorded', async () => {
    const server = await RawServer.start();
    const { directory, port, log, stop } = await startSupervised(server.port, {
      recorderEntry: MORTAL_RECORDER,
    });
    await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    const killer = new Client(port);
    const neighbour = new Client(port);
    await neighbour.ask();
    await killer.ask(POISON);
    await untilStatus(directory, ({ restarts, state }) => restarts.recorder === 1 && state === 'HEALTHY');
    // Who it was nobody knows yet; the next recorder watches itself.
    await neighbour.ask();
    await killer.ask(POISON);
    await untilStatus(directory, ({ restarts, state }) => restarts.recorder === 2 && state === 'HEALTHY');
    for (let turn = 0; turn < 3; turn += 1) {
      await killer.ask(POISON);
      await neighbour.ask();
    }
    const status = await untilStatus(
      directory,
      ({ exchanges, omitted }) => exchanges >= 3 && omitted.unparsed?.turns === 3,
    );
    expect(status.restarts.recorder).toBe(2);
    expect(log.texts('error').filter((line) => line.includes('died of a connection'))).toHaveLength(1);
    await killer.end();
    await neighbour.end();
    const { account: ledger } = await stop();
    expect(imbalance(ledger)).toEqual({ bytes: 0, turns: 0 });
    expect(ledger.pending).toEqual({ bytes: 0, turns: 0 });
    // The capture says of it what the account says.
    const { omitted } = inspectCapture(directory);
    expect(omitted.byCause.unparsed).toEqual({ exchanges: 3, bytes: ledger.omitted.unparsed?.bytes });
    await server.close();
  });

  it('is recorded from its next request on by a gateway, where what it died of never comes again', async () => {
    const server = await RawServer.start();
    const { directory, port, stop } = await startSupervised(server.port, {
      recorderEntry: MORTAL_RECORDER,
      mode: 'gateway',
    });
    await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    const killer = new Client(port);
    for (let death = 1; death <= 2; death += 1) {
      await killer.ask(POISON);
      await untilStatus(
        directory,
        ({ restarts, state }) => restarts.recorder === death && state === 'HEALTHY',
      );
    }
    for (let turn = 0; turn < 3; turn += 1) await killer.ask();
    const { restarts } = await untilStatus(directory, ({ exchanges }) => exchanges === 3);
    expect(restarts.recorder).toBe(2);
    await killer.end();
    const { account: ledger } = await stop();
    expect(imbalance(ledger)).toEqual({ bytes: 0, turns: 0 });
    expect(ledger.pending).toEqual({ bytes: 0, turns: 0 });
    expect([ledger.lost.writer_down?.turns, ledger.omitted]).toEqual([2, {}]);
    expect(inspectCapture(directory).losses.byReason).toMatchObject({ writer_down: { exchanges: 2 } });
    await server.close();
  });
});
