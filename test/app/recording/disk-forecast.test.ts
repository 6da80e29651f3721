import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiskEstimates } from '../../../src/app/recording/recorder-process.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { newCapture, writerOptions } from '../../support/captures.ts';
import { exchangeOf, requestMessage } from '../../support/exchanges.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const GIB = 2 ** 30;

describe('estimates of a recording', () => {
  it('come after a minute of traffic, and again each hour that differs by a fifth', () => {
    const clock = new ManualClock();
    const estimates = new DiskEstimates(clock, GIB, null);
    let stored = { exchanges: 0, bytes: 0 };
    const told: { minute: number; ratePerSecond: number }[] = [];
    const minute = (index: number, perSecond: number) => {
      for (let second = 0; second < 60; second += 1) {
        clock.advance(1e9);
        stored = { exchanges: stored.exchanges + perSecond, bytes: stored.bytes + perSecond * 5_000 };
        const estimate = estimates.observe(stored);
        if (estimate !== null) told.push({ minute: index, ratePerSecond: estimate.ratePerSecond });
      }
    };
    // Ten idle minutes, then three hours alike, one slightly busier, one twice as busy.
    const rates = [
      ...Array(10).fill(0),
      ...Array(180).fill(10),
      ...Array(60).fill(11),
      ...Array(61).fill(20),
    ];
    for (const [index, rate] of rates.entries()) minute(index, rate);
    expect(told).toEqual([
      { minute: 10, ratePerSecond: 10 },
      { minute: expect.any(Number), ratePerSecond: expect.closeTo(20, 0) },
    ]);
    expect(told[1]?.minute).toBeGreaterThan(300);
  });

  it('wait for more minutes, and not for an hour, where the first was too little: it is said once', () => {
    const clock = new ManualClock();
    const estimates = new DiskEstimates(clock, GIB, null);
    const told: { second: number; seconds: number; exchanges: number; isKnown: boolean }[] = [];
    for (let second = 1; second <= 600; second += 1) {
      clock.advance(1e9);
      // Four small ones in the first minute, which the disk did not grow for; it does in the fifth.
      const exchanges = second <= 4 ? second : second < 270 ? 4 : second - 266;
      const estimate = estimates.observe({ exchanges, bytes: second < 270 ? 0 : exchanges * 4_096 });
      if (estimate === null) continue;
      const { seconds, quotaHoldsMs } = estimate;
      told.push({ second, seconds, exchanges: estimate.exchanges, isKnown: quotaHoldsMs !== null });
    }
    expect(told).toEqual([
      { second: 60, seconds: 60, exchanges: 4, isKnown: false },
      { second: 300, seconds: 300, exchanges: 34, isKnown: true },
    ]);
  });

  it('are within a quarter of what the sealed hour then takes', () => {
    const clock = new ManualClock(0, 1_795_532_400_000_000);
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory, { segmentBy: 'clock' }), clock);
    const estimates = new DiskEstimates(clock, GIB, null);
    const random = new SeededRandom(5);
    let estimated: number | null = null;
    for (let second = 0; second < 3_500; second += 10) {
      for (let count = 0; count < 40; count += 1) {
        const body = Array.from({ length: 60 }, () => random.nextUint32().toString(36)).join(' ');
        writer.append(exchangeOf({ arrivalUs: clock.epochUs() + count, request: requestMessage({ body }) }));
      }
      writer.commit();
      clock.advance(10e9);
      estimated ??= estimates.observe(writer.stored)?.bytesPerHour ?? null;
    }
    writer.close();
    const sealed = readdirSync(directory).reduce(
      (sum, file) => sum + statSync(join(directory, file)).size,
      0,
    );
    expect((estimated ?? 0) / sealed).toBeGreaterThan(0.8);
    expect((estimated ?? 0) / sealed).toBeLessThan(1.25);
  });
});
