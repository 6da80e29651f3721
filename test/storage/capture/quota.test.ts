import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { loadHashKey } from '../../../src/storage/capture/keys.ts';
import { DirectoryLock } from '../../../src/storage/capture/lock.ts';
import { sealSegment } from '../../../src/storage/capture/sealing.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import {
  arrivalAlone,
  exchangeOf,
  requestMessage,
  TEST_EPOCH_US,
  wholeBody,
} from '../../support/exchanges.ts';
import { StandingClock } from '../../support/standing-clock.ts';

/** Seals segments in a separate thread, like the recorder, and measures the disk usage meanwhile. */
class SealingThread {
  readonly #worker = new Worker(new URL('./sealing-worker.ts', import.meta.url));
  readonly #peaks = new Map<string, number>();
  #open = 0;
  #failure: string | null = null;
  #wake: (() => void) | null = null;

  constructor() {
    this.#worker.on('message', (message: { directory: string; peakBytes: number; error: string | null }) => {
      this.#open -= 1;
      this.#failure ??= message.error;
      this.#peaks.set(
        message.directory,
        Math.max(this.#peaks.get(message.directory) ?? 0, message.peakBytes),
      );
      if (this.#open === 0) this.#wake?.();
    });
  }

  seal(file: string): void {
    this.#open += 1;
    this.#worker.postMessage(file);
  }

  /** Peak disk usage of a directory while one of its segments was being sealed. */
  peakOf(directory: string): number {
    return this.#peaks.get(directory) ?? 0;
  }

  /** Resolves when no segment waits to be sealed. */
  async idle(): Promise<void> {
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== null) throw new Error(this.#failure);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

const HOUR_US = 3_600_000_000;

describe('the quota', () => {
  const MAX_BYTES = 16 * 1024 * 1024;

  function diskBytes(directory: string): number {
    return readdirSync(directory).reduce((sum, file) => sum + statSync(join(directory, file)).size, 0);
  }

  function noisy(index: number) {
    const content = randomBytes(200_000);
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * 1_000_000,
      request: { ...requestMessage(), body: wholeBody(content) },
    });
  }

  it('is never exceeded; the oldest sealed segments go first, and their going is recorded', () => {
    const directory = newCapture();
    const clock = new StandingClock();
    const writer = new CaptureWriter(
      writerOptions(directory, { maxDiskBytes: MAX_BYTES, segmentBy: 'clock', durability: 'seal' }),
      clock,
    );
    let committed = 0;
    for (let index = 0; index < 160; index += 1) {
      // At first whole segments come and go within milliseconds, and what is on the disk is not asked for its age.
      clock.monotonicNs += index < 80 ? 1e6 : 1e8;
      writer.append(noisy(index));
      const result = writer.commit();
      expect(result.lost).toEqual([]);
      committed += result.committed;
      expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
    }
    writer.close();
    expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
    const { exchanges, expired, segments, losses } = inspectCapture(directory);
    expect(expired.segments).toBeGreaterThan(5);
    expect(exchanges + expired.exchanges).toBe(committed);
    expect(losses.exchanges).toBe(0);
    expect(segments[0]?.file).toBe(
      `20261124T15-7f3a9c21-${String(expired.segments + 1).padStart(4, '0')}.sqlite`,
    );
    // It is kept within, and it is used: a quota that is half empty would expire too early.
    expect(diskBytes(directory)).toBeGreaterThan(MAX_BYTES / 3);
    expect(readdirSync(directory).filter((file) => file.endsWith('.expired.json'))).toEqual([]);
  });

  /** Each at least what a segment may be, so that every one ends its segment; in less time than a count may be old. */
  const filling = fc.array(
    fc.record({
      bytes: fc.integer({ min: MAX_BYTES / 8, max: MAX_BYTES / 4 }),
      pauseMs: fc.integer({ min: 1, max: 200 }),
      turnsHour: fc.boolean(),
      keepsHouse: fc.boolean(),
      sealsNext: fc.boolean(),
    }),
    { minLength: 16, maxLength: 24 },
  );

  it('is never exceeded by batches that fill a segment each, within the age of a count', () => {
    const noise = randomBytes(MAX_BYTES / 4);
    fc.assert(
      fc.property(filling, (steps) => {
        const directory = newCapture();
        const clock = new StandingClock();
        const finished: string[] = [];
        let ended = 0;
        const onFinished = (file: string) => {
          ended += 1;
          finished.push(file);
        };
        const parts = {
          maxDiskBytes: MAX_BYTES,
          segmentBy: 'clock',
          durability: 'seal',
          onFinished,
        } as const;
        const writer = new CaptureWriter(writerOptions(directory, parts), clock);
        for (const [index, { bytes, pauseMs, turnsHour, keepsHouse, sealsNext }] of steps.entries()) {
          noise.writeUInt32LE(index, 0);
          const body = wholeBody(noise.subarray(0, bytes));
          writer.append(exchangeOf({ request: { ...requestMessage(), body } }));
          const { lost, reason } = writer.commit();
          if (lost.length > 0) expect(reason).toBe('quota');
          expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
          clock.monotonicNs += pauseMs * 1e6;
          if (turnsHour) clock.wallUs += HOUR_US;
          if (keepsHouse) writer.housekeep();
          if (sealsNext) for (const file of finished.splice(0)) sealSegment(file, clock);
          expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
        }
        writer.close();
        expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
        expect(ended).toBeGreaterThan(3);
      }),
      { numRuns: 1, seed: 20_261_128, endOnFailure: true },
    );
  });

  it('makes the writer shed when nothing sealed is left, and go on when there is room again', () => {
    const directory = newCapture();
    const clock = new StandingClock();
    const finished: string[] = [];
    const writer = new CaptureWriter(
      writerOptions(directory, {
        maxDiskBytes: MAX_BYTES,
        segmentBy: 'clock',
        durability: 'seal',
        onFinished: (file) => finished.push(file),
      }),
      clock,
    );
    let lost = 0;
    let committed = 0;
    for (let index = 0; index < 150; index += 1) {
      clock.monotonicNs += 1e8;
      writer.append(noisy(index));
      const result = writer.commit();
      lost += result.lost.length;
      committed += result.committed;
      if (result.lost.length > 0) expect(result.reason).toBe('quota');
      expect(diskBytes(directory)).toBeLessThanOrEqual(MAX_BYTES);
    }
    expect(lost).toBeGreaterThan(50);
    for (const file of finished.splice(0)) sealSegment(file, clock);
    // Within five seconds of there being room.
    clock.monotonicNs += 4.7e9;
    writer.append(noisy(999));
    expect(writer.commit()).toMatchObject({ committed: 1, lost: [] });
    writer.close();
    const { exchanges, expired } = inspectCapture(directory);
    expect(exchanges + expired.exchanges).toBe(committed + 1);
  });

  it('refuses to be smaller than a segment', () => {
    const tooSmall = () =>
      new CaptureWriter(writerOptions(newCapture(), { maxDiskBytes: 1_000 }), new StandingClock());
    expect(tooSmall).toThrow(AppError);
    expect(tooSmall).toThrow(/1000 bytes of disk/);
  });
});

describe('expiry', () => {
  it.each([
    ['is open still', false],
    ['was sealed since', true],
  ])('that was committed before a crash, in a segment that %s, is not recorded once more', (_, sealed) => {
    const directory = captureOf([0, 1].map((hour) => arrivalAlone(TEST_EPOCH_US + hour * HOUR_US)));
    const [oldest] = segmentsOf(directory);
    const manifest = `${oldest?.path}.manifest.json`;
    const tombstone = `${oldest?.path}.expired.json`;
    renameSync(manifest, tombstone);
    const kept = readFileSync(tombstone);
    captureOf([], { directory, ...(sealed ? {} : { onFinished: () => undefined }) });
    writeFileSync(tombstone, kept);
    captureOf([arrivalAlone(TEST_EPOCH_US)], { directory });
    expect(existsSync(tombstone)).toBe(false);
    const records = segmentsOf(directory).flatMap((_, index) =>
      querySegment(directory, 'SELECT file FROM expiry', index),
    );
    expect(records).toEqual([{ file: oldest?.file }]);
  });

  it('that a crash interrupted is finished and recorded by the next writer', () => {
    const directory = captureOf([0, 1].map((hour) => arrivalAlone(TEST_EPOCH_US + hour * HOUR_US)));
    const [oldest] = segmentsOf(directory);
    renameSync(`${oldest?.path}.manifest.json`, `${oldest?.path}.expired.json`);
    expect(inspectCapture(directory).exchanges).toBe(1);
    captureOf([arrivalAlone(TEST_EPOCH_US)], { directory });
    const { exchanges, expired } = inspectCapture(directory);
    expect({ exchanges, expired }).toMatchObject({ exchanges: 2, expired: { segments: 1, exchanges: 1 } });
    expect(readdirSync(directory).filter((file) => file.startsWith('20261124T15-7f3a9c21-0001'))).toEqual([]);
  });
});

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
  return noise ? randomBytes(bodyBytes) : Buffer.alloc(bodyBytes, `body ${random.nextUint32()} `);
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
          expect(committed + lost.length).toBe(each.exchanges);
          kept += committed;
          if (lost.length > 0) expect(reason).toBe('quota');
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
