import { describe, expect, test, vi } from 'vitest';
import { engineFor } from '../support/engine.ts';
import { prepared } from '../support/prepared.ts';
import { RawServer } from '../support/raw-server.ts';

describe('the thread that reads ahead', () => {
  test('stands aside while a send is due, and takes results in by the few', async () => {
    const server = await RawServer.start();
    const requests = Array.from({ length: 3_500 }, (_, index) => prepared(index, index * 1e6));
    const waits = vi.spyOn(Atomics, 'wait');
    const sizes: number[] = [];
    const indexes: number[] = [];
    try {
      // Longer than is read before the start, and dense enough that some reading comes upon a send.
      await engineFor(server.origin).run(
        requests.values(),
        (batch) => {
          sizes.push(batch.length);
          indexes.push(...batch.map(({ index }) => index));
        },
        new AbortController().signal,
      );
      expect(waits).toHaveBeenCalled();
      for (const [, , , ms] of waits.mock.calls) expect(ms).toBeLessThanOrEqual(0.4);
    } finally {
      waits.mockRestore();
      await server.close();
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(32);
    expect(indexes.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 3_500 }, (_, index) => index));
  });
});
