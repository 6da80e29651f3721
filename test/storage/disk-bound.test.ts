import { closeSync, ftruncateSync, openSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { CaptureWriter } from '../../src/storage/capture-writer.ts';
import { DirectoryLock } from '../../src/storage/directory-lock.ts';
import { loadHashKey } from '../../src/storage/hash-key.ts';
import { inspectCapture } from '../../src/storage/inspection.ts';
import { newCapture, writerOptions } from '../support/captures.ts';
import { exchangeOf, requestMessage, wholeBody } from '../support/exchanges.ts';
import { SealingThread } from '../support/sealing-thread.ts';
import { StandingClock } from '../support/standing-clock.ts';

const MAX_BYTES = 16 * 1024 * 1024;

/** What `du` would say: blocks that files and their directory hold. */
function diskUsage(directory: string): number {
  const blocks = (path: string) => (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  return readdirSync(directory).reduce((sum, file) => sum + blocks(join(directory, file)), blocks(directory));
}

interface Step {
  readonly exchanges: number;
  readonly bodyBytes: number;
  readonly noise: boolean;
  readonly pauseMs: number;
}

/** Mostly small bodies by the dozen, now and then one that takes a row, or a good part of a segment, of its own. */
const step: fc.Arbitrary<Step> = fc.record({
  exchanges: fc.integer({ min: 1, max: 40 }),
  bodyBytes: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 20_000 }) },
    { weight: 2, arbitrary: fc.integer({ min: 20_000, max: 120_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: 250_000, max: 400_000 }) },
  ),
  noise: fc.boolean(),
  pauseMs: fc.oneof(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 60_000, max: 4_000_000 })),
});

/** Larger bodies milliseconds apart: whole segments come and go while the clock hardly moves. */
const rushed: fc.Arbitrary<Step> = fc.record({
  exchanges: fc.integer({ min: 10, max: 40 }),
  bodyBytes: fc.integer({ min: 10_000, max: 60_000 }),
  noise: fc.constant(true),
  pauseMs: fc.integer({ min: 1, max: 20 }),
});

const steps = fc
  .tuple(fc.array(rushed, { minLength: 30, maxLength: 45 }), fc.array(step, { minLength: 30, maxLength: 45 }))
  .map(([hurried, paused]) => [...hurried, ...paused]);

function contentOf({ bodyBytes, noise }: Step, random: SeededRandom): Buffer {
  if (!noise) return Buffer.alloc(bodyBytes, `body ${random.nextUint32()} `);
  const content = Buffer.alloc(bodyBytes);
  for (let place = 0; place + 4 <= bodyBytes; place += 4) content.writeUInt32LE(random.nextUint32(), place);
  return content;
}

let sealer: SealingThread | null = null;
afterEach(async () => {
  await sealer?.end();
  sealer = null;
});

describe('the disk a capture takes', () => {
  it('never exceeds the quota, whatever is recorded and while segments are sealed beside it', {
    timeout: 120_000,
  }, async () => {
    const sealing = new SealingThread();
    sealer = sealing;
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(), async (sequence, seed) => {
        const directory = newCapture();
        const random = new SeededRandom(seed);
        const clock = new StandingClock();
        const lock = DirectoryLock.acquire(directory);
        loadHashKey(directory, null, null);
        // What others keep beside the segments counts as well.
        const ledger = openSync(join(directory, 'ledger.bin'), 'w');
        ftruncateSync(ledger, 1024 * 1024);
        closeSync(ledger);
        writeFileSync(join(directory, 'notes'), Buffer.alloc(300_000, 1));
        const writer = new CaptureWriter(
          writerOptions(directory, {
            maxDiskBytes: MAX_BYTES,
            segmentBy: 'clock',
            onFinished: (file) => sealing.seal(file),
          }),
          clock,
        );
        let kept = 0;
        let peak = 0;
        const sample = () => {
          peak = Math.max(peak, diskUsage(directory), sealing.peakOf(directory));
          expect(peak).toBeLessThanOrEqual(MAX_BYTES);
        };
        for (const each of sequence) {
          for (let count = 0; count < each.exchanges; count += 1) {
            const body = wholeBody(contentOf(each, random));
            writer.append(exchangeOf({ arrivalUs: clock.wallUs, request: { ...requestMessage(), body } }));
          }
          const { committed, lost, reason } = writer.commit();
          expect(committed + lost).toBe(each.exchanges);
          kept += committed;
          if (lost > 0) expect(reason).toBe('quota');
          sample();
          clock.monotonicNs += each.pauseMs * 1e6;
          clock.wallUs += each.pauseMs * 1e3;
          if (each.pauseMs > 60_000) expect(writer.housekeep().error).toBeNull();
          // The sealer gets on while we go on; now and then it has caught up.
          if (random.below(4) === 0) await sealing.idle();
          sample();
        }
        writer.close();
        await sealing.idle();
        sample();
        const { exchanges, expired } = inspectCapture(directory);
        expect(exchanges + expired.exchanges).toBe(kept);
        expect(peak).toBeGreaterThan(1024 * 1024);
        lock.release();
      }),
      { numRuns: 1, seed: 20_261_124, endOnFailure: true },
    );
  });
});
