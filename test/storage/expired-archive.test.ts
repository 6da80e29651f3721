import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { inspectCapture, surveyCapture } from '../../src/storage/inspection.ts';
import { archivedLife, leaveOut } from '../support/archives.ts';
import { newCapture } from '../support/captures.ts';

const NONE = { segments: 0, exchanges: 0, bytes: 0, exact: true };

/** Numbers of the segments that are in a directory. */
const numbersIn = (directory: string) => segmentsOf(directory).map(({ sequence }) => sequence);

describe('what expired of an archive', () => {
  it("is nothing while all that was handed over is there: it summed the recorder's expiries, one upon the other", () => {
    const { directory, archive } = archivedLife({ hours: 20, retainHours: 3 });
    expect(numbersIn(archive)).toHaveLength(21);
    expect(numbersIn(directory).length).toBeLessThan(6);
    expect(inspectCapture(archive)).toMatchObject({ exchanges: 20, expired: NONE });
    // Where they are gone the sums of sums are exact.
    const { exchanges, expired } = inspectCapture(directory);
    expect(expired).toMatchObject({ segments: 21 - numbersIn(directory).length, exact: true });
    expect(exchanges + expired.exchanges).toBe(20);
  });

  it('is what the archive itself has dropped, each once, as long as that is the oldest', () => {
    const { archive } = archivedLife({ hours: 20, retainHours: 3 });
    for (let dropped = 1; dropped <= 12; dropped += 1) {
      leaveOut(archive, dropped);
      expect(inspectCapture(archive)).toMatchObject({
        exchanges: 20 - dropped,
        expired: { segments: dropped, exchanges: dropped, exact: true },
      });
    }
  });

  it('is at least what is named, where one in the middle may have told of some that are here', () => {
    const { archive } = archivedLife({ hours: 20, retainHours: 3 });
    leaveOut(archive, 9);
    const { exchanges, expired } = inspectCapture(archive);
    expect(exchanges).toBe(19);
    expect(expired).toMatchObject({ segments: 1, exchanges: 1, exact: false });
  });

  it('never is more than what is missing, and exact where it says so, whichever are missing', () => {
    const { directory, archive } = archivedLife({ hours: 16, retainHours: 3 });
    const last = 17 - numbersIn(directory).length;
    for (let mask = 0; mask < 2 ** 12; mask += 97) {
      const partly = newCapture();
      cpSync(archive, partly, { recursive: true });
      const missing = Array.from({ length: Math.min(last, 12) }, (_, at) => at + 1).filter(
        (at) => (mask >> (at - 1)) & 1,
      );
      for (const number of missing) leaveOut(partly, number);
      const { expired } = inspectCapture(partly);
      expect(expired.segments).toBeLessThanOrEqual(missing.length);
      if (expired.exact) expect(expired.segments).toBe(missing.length);
      rmSync(partly, { recursive: true });
    }
  });

  it('counts what a later life took of an earlier one once, also of an archive of both', () => {
    const first = archivedLife({ hours: 6, retainHours: 3, id: 'first' });
    const { directory, archive } = archivedLife({
      ...first,
      hours: 8,
      retainHours: 3,
      id: 'second',
      startHour: 6,
    });
    const kept = numbersIn(directory).length;
    expect(inspectCapture(directory)).toMatchObject({ expired: { segments: 16 - kept, exact: true } });
    expect(inspectCapture(archive)).toMatchObject({ exchanges: 14, expired: NONE });
    // Asked for one life alone, what is here of the other is not gone.
    expect(surveyCapture(archive, ['second']).document).toMatchObject({ expired: { segments: 0 } });
  });

  it('is not what lies in another directory that is read with it', () => {
    const { archive } = archivedLife({ hours: 12, retainHours: 3 });
    const moved = join(dirname(newCapture()), 'moved');
    mkdirSync(moved);
    for (const { path, sequence } of segmentsOf(archive)) {
      if (sequence > 4) continue;
      for (const suffix of ['', '.manifest.json']) {
        cpSync(`${path}${suffix}`, join(moved, basename(`${path}${suffix}`)));
      }
    }
    expect(inspectCapture(moved)).toMatchObject({ exchanges: 4, expired: NONE });
  });
});
