import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { entryUrl } from '../../../src/app/package.ts';
import { type SealerEnd, sealerThread, sealingQueue } from '../../../src/app/recording/sealing.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { finishedSegment } from '../../support/captures.ts';
import { LogBook } from '../../support/log-book.ts';

/** A sealer whose attempts a test answers. */
function scripted(answers: ((files: readonly string[]) => SealerEnd)[]) {
  const log = new LogBook();
  const sealed: string[] = [];
  const asked: (readonly string[])[] = [];
  let running = 0;
  const sealer = sealingQueue({
    logger: log,
    retryMs: 5,
    onSealed: (file) => sealed.push(file),
    attempt: async (files) => {
      running += 1;
      expect(running).toBe(1);
      asked.push(files);
      await sleep(2);
      running -= 1;
      return (answers.shift() ?? everySealed)(files);
    },
  });
  return { sealer, log, sealed, asked };
}

const everySealed = (files: readonly string[]): SealerEnd => ({
  lines: files.map((file) => ({ file, outcome: 'sealed' as const })),
  failure: null,
});
const killed = (): SealerEnd => ({ lines: [], failure: 'the sealer ended with SIGKILL' });

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

describe('the sealer', () => {
  it('takes one batch after the other, and every segment once', async () => {
    const { sealer, sealed, asked } = scripted([]);
    await Promise.all([sealer.add(['/a/1', '/a/2']), sealer.add(['/a/3', '/a/1']), sealer.add([])]);
    expect(sealed.toSorted()).toEqual(['/a/1', '/a/2', '/a/3']);
    expect(asked.flat()).toHaveLength(3);
    expect(sealer.pending).toBe(0);
  });

  it('that dies is started again, later and later; one line says why, and nobody waits for it', async () => {
    const { sealer, log, sealed, asked } = scripted([killed, killed, killed, killed]);
    await sealer.add(['/a/1', '/a/2']);
    expect(sealed).toEqual([]);
    expect(sealer.pending).toBe(2);
    await until(() => sealer.pending === 0);
    expect(sealed.toSorted()).toEqual(['/a/1', '/a/2']);
    expect(asked.length).toBeGreaterThan(2);
    expect(log.texts('error')).toEqual(['segment was not sealed; it stays readable']);
  });

  it('leaves to the next start what fails while it stops', async () => {
    const { sealer, asked } = scripted([killed, killed]);
    void sealer.stopWithin(1_000);
    await sealer.add(['/a/1']);
    await sleep(30);
    expect(asked).toHaveLength(1);
    expect(sealer.pending).toBe(1);
  });

  it('is ended within what a stop leaves it, though it ran before, and with it all that waits', async () => {
    const log = new LogBook();
    let attempts = 0;
    const sealer = sealingQueue({
      logger: log,
      onSealed: () => undefined,
      attempt: (_, signal) => {
        attempts += 1;
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve(killed())));
      },
    });
    const sealing = sealer.add(Array.from({ length: 40 }, (_, index) => `/a/${index}`));
    await sealer.stopWithin(1);
    await sealing;
    expect(attempts).toBe(1);
    expect(sealer.pending).toBe(40);
    await sealer.add(['/a/late']);
    expect(attempts).toBe(1);
    expect(sealer.pending).toBe(41);
  });

  it('does not try again what is damaged, and forgets what is gone', async () => {
    const { sealer, log, sealed } = scripted([
      () => ({
        lines: [
          { file: '1', outcome: 'damaged', problem: 'a page is wrong' },
          { file: '2', outcome: 'gone' },
          { file: '3', outcome: 'empty' },
        ],
        failure: null,
      }),
    ]);
    await sealer.add(['/a/1', '/a/2', '/a/3']);
    expect(sealer.pending).toBe(0);
    expect(sealed).toEqual([]);
    expect(log.texts('error')).toEqual(['segment is damaged; it was set aside and is kept']);
  });

  it('that finds somebody in a segment is ended when its time is over, and the segment is sealed later', async () => {
    const path = finishedSegment();
    const reader = new Database(path, { readonly: true });
    const rows = reader.prepare('SELECT * FROM exchange').iterate();
    rows.next();
    const attempt = sealerThread(entryUrl('sealer'));
    const { failure } = await attempt([path], AbortSignal.timeout(1_000));
    expect(failure).toBe('there was no time left for it');
    rows.return?.();
    reader.close();
    const log = new LogBook();
    const sealed: string[] = [];
    const sealer = sealingQueue({ logger: log, attempt, onSealed: (file) => sealed.push(file) });
    await sealer.add([path]);
    expect(sealed).toEqual([path]);
    expect(segmentsOf(path.replace(/\/[^/]+$/, ''))).toMatchObject([{ sealed: true }]);
    expect(log.lines).toEqual([]);
  });

  it('is a thread, which says what became of each file', async () => {
    const sound = finishedSegment();
    const broken = finishedSegment();
    writeFileSync(broken, 'no database at all, but long enough to be looked at');
    const absent = join(sound, '..', '20200101T00-none-0001.sqlite');
    const attempt = sealerThread(entryUrl('sealer'));
    const { lines, failure } = await attempt([sound, broken, absent], new AbortController().signal);
    expect(failure).toBeNull();
    expect(lines).toEqual([
      { file: basename(sound), outcome: 'sealed', problem: null },
      { file: basename(broken), outcome: 'damaged', problem: expect.any(String) },
      { file: basename(absent), outcome: 'gone', problem: null },
    ]);
  });
});
