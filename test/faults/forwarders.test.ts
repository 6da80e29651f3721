import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { openCapture } from '../../src/storage/capture-reader.ts';
import { untilStatus } from '../support/control.ts';
import { imbalance } from '../support/imbalance.ts';
import { samplesOf, scrapeImbalance } from '../support/metrics.ts';
import { askOnce } from '../support/one-request.ts';
import { runReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { steady } from '../support/steady.ts';
import { startSupervised } from '../support/supervised.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const BALANCED = { bytes: 0, turns: 0 };
const LARGE_BYTES = 3_000_000;

/** Asks over and over, each time on a connection of its own, until it is stopped. */
class Stream {
  answered = 0;
  failed = 0;
  #stopped = false;
  readonly #loops: Promise<void>[];

  constructor(port: number) {
    this.#loops = Array.from({ length: 8 }, () => this.#loop(port));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
  }

  async #loop(port: number): Promise<void> {
    while (!this.#stopped) {
      const fine = await askOnce(port).then(
        () => true,
        () => false,
      );
      if (fine) this.answered += 1;
      else this.failed += 1;
      await sleep(10);
    }
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe('several forwarders', () => {
  it('share a port, one recorder and one account, through the deaths of all of them', async () => {
    const server = await RawServer.start();
    const { supervisor, directory, port, stop } = await startSupervised(server.port, { forwarders: 3 });
    const { pids } = await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    expect(new Set(pids.forwarders).size).toBe(3);
    const stream = new Stream(port);
    await untilStatus(directory, ({ exchanges }) => exchanges > 20);
    const metrics = `http://127.0.0.1:${supervisor.probeAddress?.port}/metrics`;
    const scrape = async () => samplesOf(await (await fetch(metrics)).text());
    for (const victim of [pids.forwarders[0], pids.recorder, pids.forwarders[2]]) {
      process.kill(victim as number, 'SIGKILL');
      for (let look = 0; look < 8; look += 1) {
        expect(scrapeImbalance(await scrape())).toEqual(BALANCED);
        expect(imbalance(supervisor.status())).toEqual(BALANCED);
        await sleep(150);
      }
    }
    const before = (await untilStatus(directory, ({ state }) => state === 'HEALTHY')).exchanges;
    await untilStatus(directory, ({ exchanges }) => exchanges > before + 20);
    const { restarts, ready } = supervisor.status();
    expect([restarts.forwarder, ready]).toEqual([2, true]);
    expect(restarts.recorder).toBeGreaterThanOrEqual(1);
    await stream.stop();
    const { ledger } = await stop();
    expect(imbalance(ledger)).toEqual(BALANCED);
    expect(ledger.pending).toEqual(BALANCED);
    expect(ledger.seen.turns).toBeGreaterThan(stream.answered / 2);
    // Each came on a connection of its own: within a recorder's life no two have the same number.
    const capture = openCapture(directory);
    const rows = [...capture.rows()];
    capture.close();
    const connections = new Set(rows.map(({ recorder, connection }) => `${recorder} ${connection}`));
    expect(connections.size).toBe(rows.length);
    expect(rows.length).toBeGreaterThanOrEqual(ledger.exchanges);
    await server.close();
  });

  it('take down with them what no recorder had read, and the capture is told of it', async () => {
    const server = await RawServer.start();
    const { directory, port, stop } = await startSupervised(server.port);
    const { pids } = await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    await askOnce(port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    // More than a pipe holds waits in the forwarder.
    process.kill(pids.recorder as number, 'SIGSTOP');
    const large = `POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: ${LARGE_BYTES}\r\n\r\n${'x'.repeat(LARGE_BYTES)}`;
    for (let count = 0; count < 4; count += 1) await askOnce(port, large);
    await untilStatus(directory, ({ seen }) => seen.turns === 5);
    process.kill(pids.forwarders[0] as number, 'SIGKILL');
    await untilStatus(directory, ({ restarts }) => restarts.forwarder === 1);
    process.kill(pids.recorder as number, 'SIGCONT');
    await untilStatus(directory, ({ state, ready }) => state === 'HEALTHY' && ready);
    await askOnce(port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 2);
    const { ledger } = await stop();
    expect(imbalance(ledger)).toEqual(BALANCED);
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    const { exchanges, losses } = JSON.parse(stdout);
    expect(exchanges + losses.exchanges).toBe(ledger.seen.turns);
    expect(losses.bytes).toBeGreaterThan(3 * LARGE_BYTES);
    expect(losses.bytes).toBeLessThanOrEqual(ledger.seen.bytes);
    await server.close();
  });

  it('do not count twice what was lost, when one dies while the recorder is coming back', async () => {
    const server = await RawServer.start();
    const { directory, port, supervisor, stop } = await startSupervised(server.port);
    const { pids } = await untilStatus(directory, ({ state }) => state === 'HEALTHY');
    await askOnce(port);
    await untilStatus(directory, ({ exchanges }) => exchanges === 1);
    process.kill(pids.recorder as number, 'SIGKILL');
    let asked = 1;
    let next = supervisor.status().pids.recorder;
    while (next === pids.recorder || next === null) {
      await askOnce(port);
      asked += 1;
      next = supervisor.status().pids.recorder;
    }
    // It has its pipe, and what was lost lies in it unread.
    process.kill(next, 'SIGSTOP');
    await until(() => supervisor.status().seen.turns === asked);
    process.kill(pids.forwarders[0] as number, 'SIGKILL');
    await until(() => supervisor.status().restarts.forwarder === 1);
    process.kill(next, 'SIGCONT');
    await untilStatus(directory, ({ state, ready }) => state === 'HEALTHY' && ready);
    await askOnce(port);
    const { ledger } = await stop();
    expect(imbalance(ledger)).toEqual(BALANCED);
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    const { exchanges, losses } = JSON.parse(stdout);
    expect(ledger.seen.turns).toBe(asked + 1);
    expect(exchanges + losses.exchanges).toBe(asked + 1);
    await server.close();
  });

  it.skipIf(!existsSync('/proc/self/fd'))(
    'and recorders that come and go leave no descriptor behind',
    async () => {
      const server = await RawServer.start();
      const { directory, supervisor, stop } = await startSupervised(server.port, { forwarders: 2 });
      const pipes = () =>
        readdirSync('/proc/self/fd').filter((fd) => {
          try {
            return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
          } catch {
            // Closed between the two looks.
            return false;
          }
        }).length;
      const recover = (restarts: number) =>
        untilStatus(
          directory,
          (status) => status.state === 'HEALTHY' && status.restarts.recorder === restarts,
        );
      await recover(0);
      process.kill(supervisor.status().pids.recorder as number, 'SIGKILL');
      await recover(1);
      const before = await steady(pipes);
      for (const restarts of [2, 3]) {
        process.kill(supervisor.status().pids.recorder as number, 'SIGKILL');
        await recover(restarts);
      }
      // The last of what a dead recorder had is closed when its end is heard of.
      await expect.poll(pipes, { timeout: 10_000 }).toBeLessThanOrEqual(before + 1);
      await stop();
      await server.close();
    },
  );

  it('share their port with each other and with nobody else', async () => {
    const server = await RawServer.start();
    const { port, stop } = await startSupervised(server.port, { forwarders: 2 });
    const flags = ['--target', '127.0.0.1:1', '--listen', `127.0.0.1:${port}`, '--forwarders', '2'];
    const { status, stderr } = await runReprise(['record', ...flags, '--dir', temporaryDirectory()]);
    expect(status).toBe(2);
    expect(stderr).toContain('the port is in use');
    await stop();
    await server.close();
  });

  it('cannot share a unix socket', async () => {
    const flags = [
      '--target',
      '127.0.0.1:1',
      '--listen',
      'unix:/tmp/x.sock',
      '--forwarders',
      '2',
      '--dir',
      'x',
    ];
    const { status, stderr } = await runReprise(['record', ...flags]);
    expect(status).toBe(2);
    expect(stderr).toContain('--forwarders');
  });
});
