import { statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { segmentsOf } from '../../src/storage/capture-directory.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { sealSegment } from '../../src/storage/sealing.ts';
import { captureOf, finishedSegment, querySegment } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, wholeBody } from '../support/exchanges.ts';

/** Sentences that come again, a word changed here and there: what packing harder finds and a quick look does not. */
function prompts(count: number) {
  const random = new SeededRandom(3);
  const pick = (from: readonly string[]) => from[random.below(from.length)] ?? '';
  const words = Array.from({ length: 400 }, () => random.nextUint32().toString(36));
  const sentences = Array.from({ length: 200 }, () => Array.from({ length: 12 }, () => pick(words)));
  const sentence = () => {
    const chosen = [...(sentences[random.below(sentences.length)] ?? [])];
    chosen[random.below(chosen.length)] = pick(words);
    return chosen.join(' ');
  };
  return Array.from({ length: count }, (_, index) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + index * 500_000,
      request: requestMessage({ body: Array.from({ length: 8 }, sentence).join('. ') }),
    }),
  );
}

describe('the segment of a quiet hour', () => {
  it('takes as much as is in it, not a page of 8 KiB for each table', () => {
    const path = finishedSegment();
    const before = statSync(path).size;
    const { fileBytes } = sealSegment(path, systemClock);
    expect(before).toBeGreaterThan(100_000);
    expect(fileBytes).toBe(statSync(path).size);
    expect(fileBytes).toBeLessThan(24_000);
  });

  it('is packed harder, and reads as before', () => {
    const exchanges = prompts(600);
    const loose = captureOf(exchanges, { onFinished: () => {} });
    const read = (directory: string) => {
      const reader = new CaptureReader(directory);
      try {
        return [...reader.rows()].map((row) =>
          Buffer.from(reader.payload(row)?.request?.body.kept ?? []).toString(),
        );
      } finally {
        reader.close();
      }
    };
    const payload = (directory: string) =>
      querySegment<{ bytes: number }>(directory, 'SELECT sum(length(payload)) AS bytes FROM block')[0]
        ?.bytes ?? 0;
    const before = { bodies: read(loose), bytes: payload(loose) };
    sealSegment(segmentsOf(loose)[0]?.path ?? '', systemClock);
    expect(read(loose)).toEqual(before.bodies);
    expect(payload(loose)).toBeLessThan(before.bytes * 0.95);
    expect(querySegment(loose, 'PRAGMA quick_check')).toEqual([{ quick_check: 'ok' }]);
  });

  it('is told by its size: a large segment is left as it is', () => {
    const random = new SeededRandom(4);
    const noise = () => Buffer.from(Array.from({ length: 150_000 }, () => random.below(256)));
    const directory = captureOf(
      Array.from({ length: 20 }, (_, index) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + index,
          request: { ...requestMessage(), body: wholeBody(noise()) },
        }),
      ),
    );
    const [segment] = segmentsOf(directory);
    expect(statSync(segment?.path ?? '').size).toBeGreaterThan(LIMITS.compactedSegmentBytes);
    expect(querySegment(directory, 'PRAGMA page_size')).toEqual([{ page_size: 8_192 }]);
  });
});
