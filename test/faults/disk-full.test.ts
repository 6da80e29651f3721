import { readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import {
  resolveCaptureDirectory,
  segmentsOf,
  unsealedSegments,
} from '../../src/storage/capture/directory.ts';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { sealSegment, settleSegment } from '../../src/storage/capture/sealing.ts';
import { captureOf } from '../support/captures.ts';
import { contentOf, conversation, forget, ofSession, verified } from '../support/forgetting.ts';
import { canMount, canTrace } from '../support/host-abilities.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { smallDisk } from './fault-scene.ts';

// The writer and its files by themselves, which know no plane; with traffic, on both: `writer-faults-*.test.ts`.

/** Seven a commit, with a pause after each: two seconds, and a disk that failed is left alone for one. */
const COUNT = 700;
const PAUSE_MS = 20;
const WRITER = join(repositoryRoot, 'test', 'support', 'writer-process.ts');

function captureOn(disk: string): string {
  return resolveCaptureDirectory(join(disk, 'capture'), 'write');
}

/** Fills a disk but for so many bytes; answers how it is emptied again. */
function fill(disk: string, leaveBytes: number): () => void {
  const filler = join(disk, 'filler');
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(filler, Buffer.alloc(bavail * bsize - leaveBytes));
  return () => rmSync(filler);
}

describe.skipIf(!canTrace)('a disk that fills up within a batch (no strace, or it may not attach)', () => {
  // The reserve is looked at before a batch: what others write meanwhile, or a limit that statfs does not tell of,
  // is met only by the write itself.
  it.each([
    ['in its log', 'pwrite64:error=ENOSPC:when=200'],
    ['for as long as it lives', 'pwrite64:error=ENOSPC:when=200+'],
  ])('costs that batch, counted as such, and the segment goes on: %s', async (_, inject) => {
    const directory = join(temporaryDirectory(), 'capture');
    const tracing = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=pwrite64', '-e', `inject=${inject}`];
    const { status, stdout } = await runProcess('strace', [
      ...tracing,
      process.execPath,
      WRITER,
      directory,
      'full',
      String(COUNT),
      '4000',
      String(PAUSE_MS),
    ]);
    expect(status).toBe(0);
    const acknowledged = Number([...stdout.matchAll(/^committed (\d+)$/gm)].at(-1)?.[1]);
    const lost = [...stdout.matchAll(/^lost (\d+) (\w+)$/gm)];
    expect(acknowledged).toBeGreaterThan(0);
    expect(new Set(lost.map((match) => match[2]))).toEqual(new Set(['disk_full']));
    const lostExchanges = lost.reduce((sum, match) => sum + Number(match[1]), 0);
    expect(acknowledged + lostExchanges).toBe(COUNT);
    // Not given up, as one would be that a failing disk may have spoilt.
    expect(stdout.match(/^finished /gm)).toHaveLength(1);
    expect(unsealedSegments(directory).map((path) => settleSegment(path, systemClock).problem)).toEqual([
      null,
    ]);
    const reader = new CaptureReader(directory);
    const numbers = [...reader.rows()].map((row) => row.connection);
    reader.close();
    expect(numbers).toHaveLength(acknowledged);
    expect(verified(directory).ok).toBe(true);
    if (inject.endsWith('+')) return;
    expect(stdout.lastIndexOf('committed ')).toBeGreaterThan(stdout.lastIndexOf('lost '));
  });
});

describe.skipIf(!canMount)('a full disk (no file system can be mounted here)', () => {
  test('leaves a segment that is sealed as large as it is', () => {
    const disk = smallDisk(16);
    const directory = captureOf(conversation(), { directory: captureOn(disk), onFinished: () => {} });
    const before = contentOf(directory);
    fill(disk, 24 * 1024);
    for (const { path } of segmentsOf(directory)) sealSegment(path, systemClock);
    expect(contentOf(directory)).toEqual(before);
    expect(verified(directory).ok).toBe(true);
    expect(readdirSync(directory).filter((file) => /-(journal|wal|shm)$/.test(file))).toEqual([]);
  });

  test('makes forget say that there is no room, and leaves the segment as it was', () => {
    const disk = smallDisk(16);
    const directory = captureOf(conversation(), { directory: captureOn(disk) });
    const before = contentOf(directory);
    // The lock is there by then: what is short is the room of one more segment.
    forget(directory, ofSession('Nobody'));
    const empty = fill(disk, 16 * 1024);
    expect(() => forget(directory, ofSession('Adalberta'))).toThrow(
      expect.objectContaining({
        code: 'OUTPUT_UNWRITABLE',
        message: expect.stringMatching(/no room to rewrite .*sqlite/),
      }),
    );
    expect(contentOf(directory)).toEqual(before);
    expect(verified(directory)).toEqual({ ok: true, exchanges: 60, leftovers: [] });
    empty();
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 30, complete: true });
  });
});
