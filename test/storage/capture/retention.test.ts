import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture, surveyCapture } from '../../../src/storage/capture/inspect.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import { exchangeOf } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import { StandingClock } from '../../support/standing-clock.ts';
import { archivedLife, leaveOut } from './archives.ts';

const HOUR_NS = 3600e9;
const DAY_MS = 86_400_000;

function advance(clock: StandingClock, ns: number): void {
  clock.monotonicNs += ns;
  clock.wallUs += ns / 1000;
}

/** A writer on a clock of its own that seals at once, and a way to let an hour with an exchange pass. */
function recorderOf(retainMs: number | null, directory = newCapture()) {
  const clock = new StandingClock();
  const writer = new CaptureWriter(
    writerOptions(directory, {
      segmentBy: 'clock',
      retainMs,
      onFinished: (file) => {
        sealSegment(file, clock);
      },
    }),
    clock,
  );
  const hour = () => {
    writer.append(exchangeOf({ arrivalUs: clock.wallUs }));
    expect(writer.commit()).toMatchObject({ committed: 1, lost: [], error: null });
    advance(clock, HOUR_NS);
    expect(writer.housekeep()).toEqual({ error: null });
  };
  return { clock, writer, directory, hour };
}

describe('retention by age', () => {
  it('keeps what is younger, takes what is older, and records its going', () => {
    const { writer, directory, hour } = recorderOf(DAY_MS);
    for (let count = 0; count < 34; count += 1) hour();
    writer.close();
    const { exchanges, expired, losses, coverage } = inspectCapture(directory);
    expect(exchanges + expired.exchanges).toBe(34);
    expect(exchanges).toBeGreaterThanOrEqual(24);
    expect(exchanges).toBeLessThanOrEqual(26);
    expect(losses.exchanges).toBe(0);
    expect(coverage).toBe(1);
    const reasons = segmentsOf(directory).flatMap((_, index) =>
      querySegment<{ why: string }>(directory, 'SELECT why FROM expiry', index),
    );
    expect(new Set(reasons.map(({ why }) => why))).toEqual(new Set(['retain']));
    expect(readdirSync(directory).filter((file) => file.endsWith('.expired.json'))).toEqual([]);
  });

  it('happens without traffic too, as does the end of an hour', () => {
    const { clock, writer, directory, hour } = recorderOf(DAY_MS);
    hour();
    expect(writer.housekeep()).toEqual({ error: null });
    expect(segmentsOf(directory).map(({ sealed }) => sealed)).toEqual([true]);
    for (let minute = 0; minute < 26 * 60; minute += 1) {
      advance(clock, 60e9);
      writer.addAnchor(clock.anchor());
      writer.housekeep();
    }
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 0, expired: { segments: 1, exchanges: 1 } });
    writer.close();
  });

  it('opens no segment for an idle recorder that has nothing to say but the time', () => {
    const { clock, writer, directory } = recorderOf(null);
    for (let minute = 0; minute < 120; minute += 1) {
      advance(clock, 60e9);
      writer.addAnchor(clock.anchor());
      writer.housekeep();
    }
    expect(segmentsOf(directory)).toEqual([]);
    writer.close();
  });

  it('takes nothing because of a wall clock that leaps ahead, and catches up with it when time has passed', () => {
    const { clock, writer, directory, hour } = recorderOf(DAY_MS);
    for (let count = 0; count < 3; count += 1) hour();
    clock.wallUs += 365 * DAY_MS * 1000;
    clock.monotonicNs += 300e9;
    writer.housekeep();
    hour();
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 4, expired: { segments: 0 } });
    writer.close();
  });

  it('leaves an open segment, one that waits for its sealer, and one whose manifest cannot be read', () => {
    const directory = newCapture();
    const clock = new StandingClock();
    const writer = new CaptureWriter(
      writerOptions(directory, { segmentBy: 'clock', retainMs: DAY_MS, onFinished: () => {} }),
      clock,
    );
    writer.append(exchangeOf());
    writer.commit();
    advance(clock, 48 * HOUR_NS);
    writer.housekeep();
    advance(clock, 48 * HOUR_NS);
    writer.append(exchangeOf());
    writer.commit();
    expect(segmentsOf(directory)).toHaveLength(2);
    const first = segmentsOf(directory)[0]?.path ?? '';
    writeFileSync(`${first}.manifest.json`, 'no manifest');
    advance(clock, HOUR_NS / 2);
    writer.housekeep();
    expect(existsSync(first)).toBe(true);
    rmSync(`${first}.manifest.json`);
    sealSegment(first, clock);
    advance(clock, HOUR_NS / 4);
    writer.housekeep();
    expect(existsSync(first)).toBe(false);
    writer.close();
  });

  it('takes the mark of having been handed over with the segment, after a crash too', () => {
    const { clock, writer, directory, hour } = recorderOf(DAY_MS);
    for (let count = 0; count < 2; count += 1) hour();
    writer.housekeep();
    const [first, second] = segmentsOf(directory).map(({ path }) => path);
    writeFileSync(`${first}.handed`, '');
    writeFileSync(`${second}.handed`, '');
    writer.close();
    renameSync(`${second}.manifest.json`, `${second}.expired.json`);
    advance(clock, 48 * HOUR_NS);
    const next = new CaptureWriter(
      writerOptions(directory, {
        segmentBy: 'clock',
        retainMs: DAY_MS,
        recorder: { id: 'next', host: 'h', startedUs: 0 },
      }),
      clock,
    );
    next.append(exchangeOf({ arrivalUs: clock.wallUs }));
    next.commit();
    next.housekeep();
    next.close();
    expect(readdirSync(directory).filter((file) => !file.includes('-next-'))).toEqual([]);
    expect(inspectCapture(directory)).toMatchObject({ exchanges: 1, expired: { segments: 2, exchanges: 2 } });
    expect(existsSync(join(directory, 'reprise'))).toBe(false);
  });
});

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
    for (let mask = 0; mask < 2 ** 12; mask += repeated(389, 97)) {
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
