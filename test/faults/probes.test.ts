import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { CELL_BYTES, decodeCell, LEDGER_FILE, type LifeAccount } from '../../src/core/ledger-cell.ts';
import { samplesOf, scrapeImbalance } from '../support/metrics.ts';
import { askOnce, REQUEST } from '../support/one-request.ts';
import { runReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROBES = ['--probe-listen', '127.0.0.1:0'];

async function scene(flags: readonly string[] = [], directory = join(temporaryDirectory(), 'capture')) {
  const server = await RawServer.start();
  const recording = await startRecording(server.port, directory, [...PROBES, ...flags]);
  const [, address] = await recording.process.waitFor('stderr', /"probes":"([^"]+)"/);
  const get = (path: string) => fetch(`http://${address}${path}`);
  const ready = async () => (await get('/readyz')).status;
  const scrape = async () => samplesOf(await (await get('/metrics')).text());
  return { server, recording, directory, get, ready, scrape };
}

describe.concurrent('probes of a recording', () => {
  it('say not ready the moment a drain begins, while traffic is served for the drain delay', async () => {
    const { server, recording, get, ready } = await scene(['--drain-delay', '60s']);
    expect(await ready()).toBe(200);
    recording.process.child.kill('SIGTERM');
    await recording.process.waitFor('stderr', /"message":"draining"/);
    expect(await ready()).toBe(503);
    expect((await get('/livez')).status).toBe(200);
    expect(await askOnce(recording.port)).toContain('200 OK');
    // Only now is the delay over, however long the questions took.
    recording.process.child.kill('SIGTERM');
    const { status, end } = await accountOf(recording.process);
    expect([status, end['exchanges']]).toEqual([0, 1]);
    expect(end).toMatchObject({ pending: { bytes: 0, turns: 0 }, cut: 0 });
    await server.close();
  });

  it('say ready although nothing can be recorded', async () => {
    const { server, recording, ready, scrape } = await scene([], '/proc/reprise-cannot-be-here');
    expect(await ready()).toBe(200);
    await askOnce(recording.port);
    let samples = await scrape();
    await msUntil(20_000, 'the loss is told', async () => {
      samples = await scrape();
      return samples.get('reprise_lost_turns_total{reason="writer_down"}') === 1;
    });
    expect(samples.get('reprise_state{state="OFF"}')).toBe(1);
    expect(scrapeImbalance(samples)).toEqual({ bytes: 0, turns: 0 });
    await recording.stop();
    await server.close();
  });

  it('cut the drain delay short when a second signal comes', async () => {
    const { server, recording } = await scene(['--drain-delay', '60s']);
    recording.process.child.kill('SIGTERM');
    await recording.process.waitFor('stderr', /"message":"draining"/);
    recording.process.child.kill('SIGTERM');
    expect((await recording.process.finished).status).toBe(0);
    await server.close();
  });

  it('are no reason not to start where their port is taken', async () => {
    const first = await scene();
    const [, port] = await first.recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const directory = join(temporaryDirectory(), 'capture');
    const flags = ['--probe-listen', `127.0.0.1:${port}`];
    const second = await startRecording(first.server.port, directory, flags);
    expect(second.process.stderr).toContain('NO PROBES OR METRICS');
    expect(second.process.stderr).toContain('"probes":"not yet"');
    expect(await askOnce(second.port)).toContain('200 OK');
    await Promise.all([first.recording.stop(), second.stop()]);
    await first.server.close();
  });
});

describe('a recording whose supervisor is killed', () => {
  it('drains by itself, keeps what passed, and owes nothing', async () => {
    const { server, recording, directory } = await scene();
    const client = connect({ port: recording.port, host: '127.0.0.1' });
    client.write(REQUEST);
    await once(client, 'data');
    // Long enough for the ledger to say that something is pending, which it will not be.
    await sleep(1_300);
    client.write(REQUEST);
    await once(client, 'data');
    recording.process.child.kill('SIGKILL');
    client.write(REQUEST);
    await once(client, 'data');
    client.end();
    for (const pid of Object.values(recording.children())) while (isRunning(pid)) await sleep(20);
    const next = await startRecording(server.port, directory);
    const { log } = await next.stop();
    expect(log.map(({ message }) => message).join()).not.toContain('left losses untold');
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ exchanges: 3, losses: { exchanges: 0 } });
    await server.close();
  });
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0) && !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    // No such process.
    return false;
  }
}

/** What the only recording of a directory has in its ledger by now. */
function ledgerOf(directory: string): LifeAccount | undefined {
  const bytes = readFileSync(join(directory, LEDGER_FILE));
  const cells = Array.from({ length: bytes.length / CELL_BYTES }, (_, at) =>
    decodeCell(bytes.subarray(at * CELL_BYTES, (at + 1) * CELL_BYTES)),
  );
  return cells.filter((cell) => cell !== null).toSorted((a, b) => b.number - a.number)[0];
}

describe('a recording that is killed as a whole', () => {
  it('leaves its account behind: the next one notes what had not been told', async () => {
    const { server, recording, directory } = await scene([], undefined);
    await askOnce(recording.port);
    // The recorder is frozen, so that what comes now is pending when everything is killed.
    process.kill(recording.children().recorder, 'SIGSTOP');
    await askOnce(recording.port);
    await askOnce(recording.port);
    await msUntil(20_000, 'the ledger tells of them', () => {
      const { seen, pending } = ledgerOf(directory) ?? { seen: { turns: 0 }, pending: { turns: 0 } };
      return seen.turns === 3 && pending.turns >= 2;
    });
    for (const pid of [recording.process.child.pid as number, ...Object.values(recording.children())]) {
      process.kill(pid, 'SIGKILL');
    }
    await recording.process.finished;
    const next = await startRecording(server.port, directory);
    await next.process.waitFor('stderr', /left losses untold/);
    await next.stop();
    const { stdout } = await runReprise(['inspect', directory, '--json']);
    const { losses, exchanges } = JSON.parse(stdout);
    // The first exchange may have been committed after the last beat: then it is told of twice, never not at all.
    expect(losses.byReason.crash_gap.exchanges).toBeGreaterThanOrEqual(2);
    expect(losses.byReason.crash_gap.exchanges + exchanges).toBeGreaterThanOrEqual(3);
    const third = await startRecording(server.port, directory);
    const { log } = await third.stop();
    expect(log.map(({ message }) => message).join()).not.toContain('left losses untold');
    await server.close();
  });
});
