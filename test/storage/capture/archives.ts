import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { newCapture, writerOptions } from '../../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { StandingClock } from '../../support/standing-clock.ts';

const HOUR_US = 3_600_000_000;

/** A recorder's directory, and the archive to which each sealed segment was copied. */
export interface ArchivedLife {
  readonly directory: string;
  readonly archive: string;
}

interface ArchivedLifeParts extends Partial<ArchivedLife> {
  readonly id?: string;
  readonly hours: number;
  readonly retainHours: number;
  readonly startHour?: number;
}

/** A life with one exchange and one segment an hour. The recorder keeps only the last few hours. */
export function archivedLife(parts: ArchivedLifeParts): ArchivedLife {
  const { directory = newCapture(), archive = newCapture(), id = 'a', startHour = 0 } = parts;
  const clock = new StandingClock();
  clock.wallUs = TEST_EPOCH_US + startHour * HOUR_US;
  const writer = new CaptureWriter(
    writerOptions(directory, {
      recorder: { id, host: `host-${id}`, startedUs: clock.wallUs },
      segmentBy: 'clock',
      retainMs: parts.retainHours * 3_600_000,
      onFinished: (file) => {
        sealSegment(file, clock);
        for (const segment of segmentsOf(directory)) {
          if (segment.path !== file) continue;
          for (const suffix of ['', '.manifest.json']) {
            cpSync(`${file}${suffix}`, join(archive, `${segment.file}${suffix}`));
          }
        }
      },
    }),
    clock,
  );
  for (let hour = 0; hour < parts.hours; hour += 1) {
    writer.append(exchangeOf({ arrivalUs: clock.wallUs }));
    writer.commit();
    clock.wallUs += HOUR_US;
    clock.monotonicNs += HOUR_US * 1000;
    writer.housekeep();
  }
  writer.close();
  return { directory, archive };
}

/** Removes one segment from an archive, by its number. */
export function leaveOut(archive: string, number: number): void {
  for (const { path, sequence } of segmentsOf(archive)) {
    if (sequence !== number) continue;
    for (const suffix of ['', '.manifest.json']) rmSync(`${path}${suffix}`, { force: true });
  }
}
