import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { freePort } from '../support/free-port.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { askOnce } from '../support/one-request.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const KILLS = 5;
/** From the kill on, the pause of whoever starts it again included, where a processor is free for it. */
const SERVED_AGAIN_MS = 2_000;

/** How long a thread was ready to run and had no processor, since it began: a busy machine's part of any time. */
function processorWaitMs(thread: number | 'thread-self'): number {
  const [, waitedNs] = readFileSync(`/proc/${thread}/schedstat`, 'utf8').split(' ');
  return Number(waitedNs) / 1e6;
}

/** How long systemd waits by our unit; docker waits 100 ms at first, and the kubelet nothing. */
function restartMs(): number {
  const unit = readFileSync(join(repositoryRoot, 'deploy', 'systemd', 'reprise.service'), 'utf8');
  return Number(/^RestartSec=(\d+)ms$/m.exec(unit)?.[1]);
}

function numbered(id: number): string {
  const body = `{"id":${id},"x":1}`;
  return `POST /v1/x?id=${id} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function isStored(directory: string, id: number): boolean {
  return existsSync(directory) && storedIds(directory).includes(id);
}

it('a proxy that is killed serves again within two seconds, and nothing that was committed is lost', async () => {
  const origin = await new NumberedOrigin().listen();
  const port = await freePort();
  const directory = join(temporaryDirectory(), 'capture');
  const at = ['--target', `127.0.0.1:${origin.port}`, '--listen', `127.0.0.1:${port}`, '--dir', directory];
  const quick = ['--drain-delay', '0s', '--probe-listen', 'off'];
  const start = () => startReprise(['--log-format', 'json', 'record', ...at, ...quick]);
  let recording = start();
  await recording.waitFor('stderr', /"message":"forwarding"/);
  const stored = new Set<number>();
  const tookMs: number[] = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    const id = 1_000 + kill;
    await askOnce(port, numbered(id));
    await msUntil(30_000, 'it is committed', () => isStored(directory, id));
    stored.add(id);
    recording.child.kill('SIGKILL');
    const killedMs = performance.now() - processorWaitMs('thread-self');
    await recording.finished;
    await sleep(restartMs());
    const goneMs = performance.now() - processorWaitMs('thread-self') - killedMs;
    const startedMs = performance.now();
    recording = start();
    await msUntil(30_000, 'it is served', async () => {
      const answer = await askOnce(port, numbered(kill)).catch(() => '');
      return answer.includes('200 OK');
    });
    tookMs.push(goneMs + performance.now() - startedMs - processorWaitMs(recording.child.pid ?? 0));
  }
  recording.child.kill('SIGTERM');
  expect((await recording.finished).status).toBe(0);
  await origin.close();
  const ids = storedIds(directory);
  expect([...stored].filter((id) => !ids.includes(id))).toEqual([]);
  const { stdout } = await runReprise(['inspect', directory, '--json']);
  const document = JSON.parse(stdout) as InspectDocument;
  expect(document).toMatchObject({ losses: { exact: false }, killed: { length: KILLS } });
  // Their recorders ended in order, because only the proxies were killed.
  const killed = document.recorders.filter(({ end }) => end === 'killed').map(({ id }) => id);
  expect(killed.toSorted()).toEqual(document.killed.map(({ life }) => life).toSorted());
  expect(Math.max(...tookMs)).toBeLessThan(SERVED_AGAIN_MS);
});
