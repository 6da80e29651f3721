import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { sealSegment } from '../../src/storage/sealing.ts';
import { newCapture, querySegment, writerOptions } from '../support/captures.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { StandingClock } from '../support/standing-clock.ts';

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
    expect(writer.commit()).toMatchObject({ committed: 1, lost: 0, error: null });
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
