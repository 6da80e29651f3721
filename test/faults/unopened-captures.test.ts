import { chownSync, copyFileSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { SUPERVISION } from '../../src/core/limits.ts';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import type { InspectDocument } from '../../src/storage/capture/inspect.ts';
import { DirectoryLock } from '../../src/storage/capture/lock.ts';
import { canGive, canMount } from '../support/host-abilities.ts';
import { NumberedOrigin } from '../support/numbered-traffic.ts';
import { askOnce } from '../support/one-request.ts';
import { runReprise } from '../support/process.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { smallDisk } from './fault-scene.ts';

const REQUESTS = 5;

let origin: NumberedOrigin;
beforeEach(async () => {
  origin = await new NumberedOrigin().listen();
});
afterEach(async () => {
  await origin.close();
});

/** A recording, and what it forwarded. */
async function forwarding(directory: string): Promise<RecordingProcess> {
  const recording = await startRecording(origin.port, directory, [], { ownGroup: true });
  for (let id = 0; id < REQUESTS; id += 1) {
    const body = `{"id":${id},"x":1}`;
    const head = `POST /v1/x?id=${id} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n`;
    expect(await askOnce(recording.port, head + body)).toContain('200 OK');
  }
  return recording;
}

const ENDS = {
  drained: async (recording: RecordingProcess) => {
    expect((await recording.stop()).status).toBe(0);
  },
  killed: async ({ process: { child, finished } }: RecordingProcess) => {
    // Until then these requests are within what may pass uncounted.
    await sleep(2 * SUPERVISION.accountMs);
    process.kill(-(child.pid as number), 'SIGKILL');
    await finished;
  },
};

async function inspect(directory: string): Promise<InspectDocument> {
  const { stdout } = await runReprise(['inspect', directory, '--json']);
  return JSON.parse(stdout) as InspectDocument;
}

/** A recording that lost nothing follows. */
async function recordAfter(directory: string): Promise<InspectDocument> {
  const recording = await forwarding(directory);
  expect((await recording.stop()).status).toBe(0);
  return await inspect(directory);
}

function expectHalf({ exchanges, losses, coverage }: InspectDocument): void {
  expect({ exchanges, lost: losses.exchanges, coverage }).toEqual({
    exchanges: REQUESTS,
    lost: REQUESTS,
    coverage: 0.5,
  });
}

/** What is handed over: sealed segments, without the files beside them. */
function shipped(directory: string): string {
  const elsewhere = temporaryDirectory();
  const files = readdirSync(directory).filter((file) => file.includes('.sqlite'));
  for (const file of files) copyFileSync(join(directory, file), join(elsewhere, file));
  return elsewhere;
}

describe.each(['drained', 'killed'] as const)('a recording that never had its capture open, %s', (end) => {
  it('is all lost by its account, and the next recording takes that into its first segment', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    const lock = DirectoryLock.acquire(resolveCaptureDirectory(directory, 'write'));
    const recording = await forwarding(directory);
    await ENDS[end](recording);
    lock.release();
    const exact = end === 'drained';
    expect(await inspect(directory)).toMatchObject({
      exchanges: 0,
      coverage: 0,
      coverageIsAtMost: !exact,
      losses: { exchanges: REQUESTS, exact },
    });
    expectHalf(await recordAfter(directory));
    const copy = await inspect(shipped(directory));
    expectHalf(copy);
    expect(copy.losses.exact).toBe(exact);
  });

  it('as a file has its name, leaves its account beside that', async () => {
    const directory = join(temporaryDirectory(), 'capture');
    writeFileSync(directory, '');
    await ENDS[end](await forwarding(directory));
    rmSync(directory);
    expectHalf(await recordAfter(directory));
    expect(readdirSync(dirname(directory))).toEqual(['capture']);
  });

  it.skipIf(!canGive)('as another user owns it, leaves its account beside it (needs root)', async () => {
    const named = temporaryDirectory();
    const capture = resolveCaptureDirectory(named, 'write');
    writeFileSync(join(capture, 'hash.key'), Buffer.alloc(32));
    chownSync(capture, 65_534, 65_534);
    await ENDS[end](await forwarding(named));
    expect(readdirSync(capture)).toEqual(['hash.key']);
    expect(readdirSync(named).filter((file) => /^reprise\.account-\w+\.json$/.test(file))).toHaveLength(1);
    expect(await inspect(named)).toMatchObject({ coverage: 0, losses: { exchanges: REQUESTS } });
    chownSync(capture, process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
    expectHalf(await recordAfter(named));
    expect(readdirSync(named)).toEqual(['reprise']);
    expectHalf(await inspect(capture));
  });
});

describe.skipIf(!canMount)('a disk that is full from the start (no file system can be mounted here)', () => {
  test.each(['drained', 'killed'] as const)(
    'leaves its account on another file system, so that what passed is counted as lost, %s',
    async (end) => {
      const disk = smallDisk(64);
      const directory = join(disk, 'capture');
      await (await forwarding(directory)).stop();
      expect(await inspect(directory)).toMatchObject({ exchanges: REQUESTS, coverage: 1 });
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(join(disk, 'filler'), Buffer.alloc(bavail * bsize));
      await ENDS[end](await forwarding(directory));
      const document = await inspect(directory);
      expect(document).toMatchObject({ exchanges: REQUESTS, unreadableAccounts: [] });
      expect(document).toMatchObject({ losses: { exchanges: REQUESTS, exact: end === 'drained' } });
      expect(document.coverage).toBe(0.5);
      expect(document.coverageAtLeast).toBeLessThanOrEqual(0.5);
      expect(document.coverageAtLeast).toBeGreaterThan(0);
    },
  );
});
