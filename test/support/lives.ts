import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { accountFileOf, type LifeAccount } from '../../src/core/accounting.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { sealSegment } from '../../src/storage/capture/sealing.ts';
import { CaptureWriter, type CaptureWriterOptions } from '../../src/storage/capture/writer.ts';
import { accountOf } from './accounts.ts';
import { newCapture, writerOptions } from './captures.ts';
import { exchangeOf, TEST_EPOCH_US } from './exchanges.ts';
import { StandingClock } from './standing-clock.ts';

const HOUR_US = 3_600_000_000;

export interface LifeParts {
  readonly id: string;
  readonly host?: string;
  readonly directory?: string;
  /** Recorded hours, and exchanges in each. */
  readonly hours: number;
  readonly perHour?: number;
  readonly startHour?: number;
  readonly fleetSize?: number;
  readonly options?: Partial<CaptureWriterOptions>;
  /** Error of its wall clock in microseconds, and when its machine was started. */
  readonly aheadUs?: number;
  readonly bootUs?: number;
  readonly exchangesOf?: (hour: number) => readonly Exchange[];
  /** What its proxy had lost by each hour, since its start. */
  readonly lostOf?: (hour: number) => LifeAccount['lost'];
  /** Writes the account of the recording, as its proxy does. These parts replace those of a clean end. */
  readonly account?: Partial<LifeAccount>;
}

/** One recorder's life, with a segment and a few clock anchors an hour. Without `end`, it ends like after a crash. */
export function live(parts: LifeParts, end = true): string {
  const { id, host = `host-${id}`, hours, perHour = 10, startHour = 0, aheadUs = 0 } = parts;
  const directory = parts.directory ?? newCapture();
  const clock = new StandingClock();
  const bootUs = parts.bootUs ?? 0;
  const at = (offsetUs: number) => {
    clock.monotonicNs = (offsetUs + startHour * HOUR_US - bootUs) * 1000;
    clock.wallUs = TEST_EPOCH_US + startHour * HOUR_US + offsetUs + aheadUs;
  };
  at(0);
  const startedUs = clock.wallUs;
  const writer = new CaptureWriter(
    writerOptions(directory, {
      recorder: { id, host, startedUs: clock.wallUs },
      segmentBy: 'clock',
      fleetSize: parts.fleetSize ?? null,
      onFinished: (file) => {
        sealSegment(file, clock);
      },
      ...parts.options,
    }),
    clock,
  );
  let committed = 0;
  const counts = () => ({ turns: committed, bytes: committed * 10 });
  for (let hour = 0; hour < hours; hour += 1) {
    const exchanges =
      parts.exchangesOf?.(hour) ??
      Array.from({ length: perHour }, (_, index) =>
        exchangeOf({ arrivalUs: TEST_EPOCH_US + (startHour + hour) * HOUR_US + index * 60_000_000 }),
      );
    for (const part of [0, 1]) {
      at(hour * HOUR_US + part * (HOUR_US / 2));
      writer.addAnchor(clock.anchor());
      if (part === 0) for (const exchange of exchanges) writer.append(exchange);
      if (part === 0) committed += exchanges.length;
      const lost = parts.lostOf?.(hour);
      if (part === 1 && lost !== undefined)
        writer.setAccount({ ...accountOf({ life: id, atUs: clock.wallUs, startedUs }), lost });
      const progress = { ...counts(), exchanges: committed };
      expect(writer.commit(parts.account === undefined ? null : progress).error).toBeNull();
    }
  }
  at(hours * HOUR_US - 1_000_000);
  if (end) writer.close();
  if (parts.account !== undefined) {
    const account = accountOf({
      life: id,
      startedUs,
      lost: parts.lostOf?.(hours - 1) ?? {},
      atUs: clock.wallUs,
      ended: end,
      seen: counts(),
      recorded: counts(),
      exchanges: committed,
      ...parts.account,
    });
    writeFileSync(join(directory, accountFileOf(id)), JSON.stringify(account));
  }
  return directory;
}
