import { readdirSync, renameSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { carriedOut } from '../../src/cli/forgetting.ts';
import { systemClock } from '../../src/core/clock.ts';
import { segmentsOf, unsealedSegments } from '../../src/storage/capture-directory.ts';
import { DirectoryLock } from '../../src/storage/directory-lock.ts';
import { SegmentExpiry } from '../../src/storage/expiry.ts';
import { forgetExchanges } from '../../src/storage/forget.ts';
import { settleSegment } from '../../src/storage/sealing.ts';
import { removeLeftovers } from '../../src/storage/segment-replacement.ts';
import { captureOf } from '../support/captures.ts';
import { testHash } from '../support/exchanges.ts';
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

  it('that was told to end leaves nothing half done, and what it had done', () => {
    const directory = captureOf(conversation());
    const steps = forgetExchanges(directory, {
      selection: ofSession('Adalberta'),
      hashKeyFingerprint: testHash.fingerprint(),
      encryptionKey: null,
      dryRun: false,
      clock: systemClock,
    });
    steps.next();
    steps.next();
    steps.return(null);
    expect(verified(directory)).toEqual({ ok: true, exchanges: 45, leftovers: [] });
    expect(forget(directory, ofSession('Adalberta'))).toMatchObject({ exchanges: 15, complete: true });
  });

  it('ends by itself on a signal, after the segment at hand', async () => {
    const begun: string[] = [];
    const stop = new AbortController();
    function* steps(): Generator<string, null, undefined> {
      for (const file of ['first', 'second']) {
        begun.push(file);
        yield file;
        stop.abort();
      }
      return null;
    }
    // It is heard while the first is written; the second is not written any more.
    expect(await carriedOut(steps(), { signal: stop.signal, onSegment: () => undefined })).toBeNull();
    expect(begun).toEqual(['first', 'second']);
  });

  it('takes no room of a recorder that starts, which removes what it left; not of one that works', () => {
    const directory = interrupted('before');
    writeFileSync(`${segmentsOf(directory)[0]?.path}.rewriting-journal`, 'what it had on its way');
    const working = DirectoryLock.acquire(directory, 'forget.lock');
    removeLeftovers(directory);
    expect(verified(directory).leftovers).toHaveLength(3);
    working.release();
    removeLeftovers(directory);
    expect(verified(directory)).toMatchObject({ exchanges: 60, leftovers: [] });
    expect(unsealedSegments(directory)).toHaveLength(1);
  });

  it('leaves nothing behind of a segment that expires', () => {
    const directory = captureOf(conversation());
    const [segment] = segmentsOf(directory);
    if (segment === undefined) throw new Error('no segment');
    writeFileSync(`${segment.path}.rewriting`, 'half a segment');
    new SegmentExpiry(directory, systemClock).expire(segment, 'quota');
    const left = readdirSync(directory).filter((file) => file.startsWith(segment.file));
    expect(left).toEqual([`${segment.file}.expired.json`]);
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
