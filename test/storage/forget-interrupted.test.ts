import { renameSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { segmentsOf, unsealedSegments } from '../../src/storage/capture-directory.ts';
import { DirectoryLock } from '../../src/storage/directory-lock.ts';
import { settleSegment } from '../../src/storage/sealing.ts';
import { captureOf } from '../support/captures.ts';
import { contentOf, conversation, forget, ofSession, verified } from '../support/forgetting.ts';

describe('a forget that was interrupted', () => {
  const interrupted = (how: 'before' | 'after') => {
    const directory = captureOf(conversation());
    const [segment] = segmentsOf(directory);
    const path = segment?.path ?? '';
    const anew = captureOf(conversation());
    forget(anew, ofSession('Adalberta'));
    renameSync(`${path}.manifest.json`, `${path}.rewriting.json`);
    if (how === 'after') renameSync(segmentsOf(anew)[0]?.path ?? '', path);
    else writeFileSync(`${path}.rewriting`, 'half a segment');
    return directory;
  };

  it.each([
    ['before', 60],
    ['after', 45],
  ] as const)(
    '%s the new file took its place leaves one that can be read, and is ended by the next',
    (how, exchanges) => {
      const directory = interrupted(how);
      expect(contentOf(directory)).toHaveLength(exchanges);
      expect(verified(directory)).toMatchObject({
        exchanges,
        leftovers: expect.arrayContaining([expect.stringContaining('.rewriting')]),
      });
      forget(directory, ofSession('Adalberta'));
      expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
      expect(segmentsOf(directory).every(({ sealed }) => sealed)).toBe(true);
    },
  );

  it('is ended beside a recorder as well', () => {
    const directory = interrupted('before');
    const lock = DirectoryLock.acquire(directory);
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 30, complete: true });
    lock.release();
    expect(verified(directory)).toEqual({ ok: true, exchanges: 30, leftovers: [] });
  });

  it('is ended by a recorder that starts, which seals what it finds', () => {
    const directory = interrupted('after');
    const [unsealed] = unsealedSegments(directory);
    expect(settleSegment(unsealed ?? '', systemClock)).toMatchObject({
      outcome: 'sealed',
      manifest: { exchanges: 15 },
    });
    expect(unsealedSegments(directory)).toEqual([]);
    expect(verified(directory)).toMatchObject({ ok: true, exchanges: 45 });
  });
});
