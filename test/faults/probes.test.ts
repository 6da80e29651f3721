import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { accountsIn } from '../../src/storage/capture/accounts.ts';
import { samplesOf, scrapeImbalance } from '../support/metrics.ts';
import { askOnce, REQUEST } from '../support/one-request.ts';
import { runReprise } from '../support/process.ts';
import { RawServer } from '../support/raw-server.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const PROBES = ['--probe-listen', '127.0.0.1:0'];
/** A signal that comes this soon after the same one is no second one. */
const SECOND_SIGNAL_MS = 700;
/** Ends long after the test if nothing cuts it short. */
const LONG_DELAY = ['--drain-delay', '10m'];

async function scene(flags: readonly string[] = [], directory = join(temporaryDirectory(), 'capture')) {
  const server = await RawServer.start();
  const recording = await startRecording(server.port, directory, [...PROBES, ...flags]);
  const [, address] = await recording.process.waitFor('stderr', /"probes":"([^"]+)"/);
  const get = (path: string) => fetch(`http://${address}${path}`);
  const ready = async () => (await get('/readyz')).status;
  const scrape = async () => samplesOf(await (await get('/metrics')).text());
  const port = Number(new URL(`http://${address}`).port);
  return { server, recording, directory, port, get, ready, scrape };
}

describe('probes of a recording', () => {
  it('say not ready the moment a drain begins, while traffic is served for the drain delay', async () => {
    const { server, recording, get, ready } = await scene(LONG_DELAY);
    expect(await ready()).toBe(200);
    recording.process.child.kill('SIGTERM');
    await recording.process.waitFor('stderr', /"message":"draining"/);
    expect(await ready()).toBe(503);
    expect((await get('/livez')).status).toBe(200);
    expect(await askOnce(recording.port)).toContain('200 OK');
    // Only now is the delay over, however long the questions took.
    await sleep(SECOND_SIGNAL_MS);
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
    const { server, recording } = await scene(LONG_DELAY);
    recording.process.child.kill('SIGTERM');
    await recording.process.waitFor('stderr', /"message":"draining"/);
    await sleep(SECOND_SIGNAL_MS);
    recording.process.child.kill('SIGTERM');
    expect((await recording.process.finished).status).toBe(0);
    await server.close();
  });

  it('end a connection whose head has not arrived after 2 s', async () => {
    const { server, recording, port } = await scene();
    const client = connect(port, '127.0.0.1');
    client.setEncoding('utf8').write('GET /livez HTTP/1.1\r\n');
    let answer = '';
    client.on('data', (text: string) => {
      answer += text;
    });
    const beganMs = performance.now();
    await once(client, 'close');
    expect(performance.now() - beganMs).toBeLessThan(4_000);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    await recording.stop();
    await server.close();
  });

  it('are no reason not to start where their port is taken', async () => {
    const first = await scene();
    const [, port] = await first.recording.process.waitFor('stderr', /"probes":"127\.0\.0\.1:(\d+)"/);
    const directory = join(temporaryDirectory(), 'capture');
    const flags = ['--probe-listen', `127.0.0.1:${port}`];
    const second = await startRecording(first.server.port, directory, flags);
    expect(second.process.stderr).toMatch(/NO PROBES OR METRICS.*--probe-listen 127\.0\.0\.1:9465/);
    expect(second.process.stderr).toContain('"probes":"not yet"');
    expect(await askOnce(second.port)).toContain('200 OK');
    await Promise.all([first.recording.stop(), second.stop()]);
    await first.server.close();
  });
});

describe('a recording whose proxy is killed', () => {
  it('keeps what came through the pipe, and owes nothing that it had counted', async () => {
    const { server, recording, directory } = await scene();
    const client = connect({ port: recording.port, host: '127.0.0.1' });
    client.on('error', () => undefined);
    client.write(REQUEST);
    await once(client, 'data');
    // Long enough for the account to say that something is pending, which it will not be.
    await sleep(1_300);
    client.write(REQUEST);
    await once(client, 'data');
    await sleep(300);
    const { proxy, recorder } = recording.children();
    process.kill(proxy, 'SIGKILL');
    while (isRunning(recorder)) await sleep(20);
    const inspected = async () =>
      JSON.parse((await runReprise(['inspect', directory, '--json'])).stdout) as object;
    expect(await inspected()).toMatchObject({
      exchanges: 2,
      losses: { exchanges: 0, exact: false },
      killed: [{ foundAt: null }],
    });
    const next = await startRecording(server.port, directory);
    await next.stop();
    expect(await inspected()).toMatchObject({
      exchanges: 2,
      losses: { exchanges: 0, exact: false },
      killed: [{ foundAt: expect.any(String) }],
    });
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

describe('a recording that is killed as a whole', () => {
  it('leaves its account behind: what was pending is lost, once', async () => {
    const { server, recording, directory } = await scene();
    await askOnce(recording.port);
    // The recorder is frozen, so that what comes now is pending when everything is killed.
    process.kill(recording.children().recorder, 'SIGSTOP');
    await askOnce(recording.port);
    await askOnce(recording.port);
    await msUntil(20_000, 'the account tells of them', () => {
      const [account] = accountsIn(directory);
      return account?.seen.turns === 3 && account.pending.turns >= 2;
    });
    for (const pid of Object.values(recording.children())) process.kill(pid, 'SIGKILL');
    await recording.process.finished;
    for (let start = 0; start < 2; start += 1) {
      const { stdout } = await runReprise(['inspect', directory, '--json']);
      const { losses, exchanges } = JSON.parse(stdout);
      expect(losses.byReason.crash_gap.exchanges + exchanges).toBe(3);
      expect(losses.exact).toBe(false);
      const next = await startRecording(server.port, directory);
      await next.stop();
    }
    await server.close();
  });
});
