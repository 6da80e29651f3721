import { describe, expect, test } from 'vitest';
import { StallLog } from '../../../src/replay/engine/health.ts';

const MS = 1_000_000;

describe('the log of stalls', () => {
  test('leaves lateness of up to 250 ms alone', () => {
    const log = new StallLog();
    log.noteSend(1_000 * MS, 1_250 * MS);
    log.noteLoopGap(0, 250 * MS);
    expect(log.stalls()).toEqual([]);
  });

  test('marks from the first delayed instant until sends are on time again, catching up included', () => {
    const log = new StallLog();
    log.noteSend(1_000 * MS, 1_400 * MS);
    log.noteSend(1_100 * MS, 1_420 * MS);
    // Less late than a stall, and still late because of it.
    log.noteSend(1_350 * MS, 1_440 * MS);
    log.noteSend(1_441 * MS, 1_442 * MS);
    log.noteSend(1_500 * MS, 1_600 * MS);
    expect(log.stalls()).toEqual([{ fromOffsetNs: 1_000 * MS, toOffsetNs: 1_440 * MS }]);
  });

  test('marks an event loop that stood still though nothing was due, and joins what overlaps', () => {
    const log = new StallLog();
    log.noteLoopGap(5_000 * MS, 5_400 * MS);
    log.noteSend(5_100 * MS, 5_410 * MS);
    log.noteLoopGap(100 * MS, 500 * MS);
    expect(log.stalls()).toEqual([
      { fromOffsetNs: 100 * MS, toOffsetNs: 500 * MS },
      { fromOffsetNs: 5_000 * MS, toOffsetNs: 5_410 * MS },
    ]);
  });

  test('stays bounded: past a thousand stretches the last one grows', () => {
    const log = new StallLog();
    for (let i = 0; i < 1_500; i++) log.noteLoopGap(i * 1_000 * MS, i * 1_000 * MS + 300 * MS);
    const stalls = log.stalls();
    expect(stalls).toHaveLength(1_000);
    expect(stalls.at(-1)).toEqual({ fromOffsetNs: 999_000 * MS, toOffsetNs: 1_499_300 * MS });
  });
});
