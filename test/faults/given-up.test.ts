import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RecorderStatus } from '../../src/core/accounting.ts';
import { askFor, untilStatus } from '../support/control.ts';
import { imbalance } from '../support/imbalance.ts';
import { askOnce } from '../support/one-request.ts';
import { PLANES } from '../support/planes.ts';
import { RawServer } from '../support/raw-server.ts';
import { MORTAL_RECORDER, startSupervised } from '../support/supervised.ts';

const DEATHS = 5;

describe.each(PLANES)('a recorder that dies before it has committed anything, %s', (mode) => {
  it('is given up after five times; traffic flows on, and an operator can have it tried at once', async () => {
    const server = await RawServer.start();
    const scene = await startSupervised(server.port, { recorderEntry: MORTAL_RECORDER, mode });
    const { directory, port, log, stop } = scene;
    for (let death = 1; death <= DEATHS; death += 1) {
      await untilStatus(directory, ({ state, pids }) => state === 'HEALTHY' && pids.recorder !== null);
      // Of a connection of its own each time, so that quarantine cannot help.
      expect(await askOnce(port, 'GET /poison HTTP/1.1\r\nHost: h\r\n\r\n')).toContain('200 OK');
      // None is there for a moment only: what lasts is that another was started, or that it was given up.
      if (death < DEATHS) await untilStatus(directory, ({ restarts }) => restarts.recorder === death);
    }
    const off = await untilStatus(directory, ({ state }) => state === 'OFF');
    expect(off).toMatchObject({ ready: true, why: expect.stringContaining('again and again') });
    expect(await askOnce(port)).toContain('200 OK');
    // What the last one may have committed is in doubt until another one has read the capture.
    const lost = await untilStatus(directory, (status) => (status.lost.writer_down?.turns ?? 0) >= 5);
    expect(imbalance(lost)).toEqual({ bytes: 0, turns: 0 });
    await askFor(directory, '/pause');
    await askFor(directory, '/resume');
    await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    await askOnce(port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    expect(log.texts('error').filter((line) => line.includes('once a minute'))).toHaveLength(1);
    const { account: ledger } = await stop();
    expect([ledger.pending, ledger.lost.writer_down?.turns]).toEqual([{ bytes: 0, turns: 0 }, 6]);
    await server.close();
  });
});

describe.each(PLANES)('a recorder whose directory is taken away, %s', (mode) => {
  it('is followed by another, and what was counted before stays counted', async () => {
    const server = await RawServer.start();
    const { directory, port, recording, stop } = await startSupervised(server.port, { mode });
    const requests = ({ traffic }: RecorderStatus) =>
      traffic.requests.reduce((sum, { count }) => sum + count, 0);
    await askOnce(port);
    await untilStatus(directory, (status) => requests(status) === 1);
    // The recorder makes files meanwhile.
    rmSync(directory, { recursive: true, maxRetries: 20, retryDelay: 10 });
    await untilStatus(directory, ({ state, restarts }) => state === 'HEALTHY' && restarts.recorder === 1);
    expect(requests(recording.status())).toBe(1);
    await askOnce(port);
    await untilStatus(directory, (status) => requests(status) === 2);
    const { account: ledger } = await stop();
    expect([ledger.exchanges, ledger.lost, ledger.pending.turns]).toEqual([2, {}, 0]);
    await server.close();
  });
});
