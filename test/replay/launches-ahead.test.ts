import { describe, expect, test } from 'vitest';
import { LAUNCH_SLOTS } from '../../src/replay/launch-pad.ts';
import { CONNECTIONS, LaunchStage } from '../support/launch-stage.ts';
import { outgoing } from '../support/transport-stage.ts';

const MS = 1_000_000;

/** A sender of a hundred requests that are so far from each other. */
function stageOf(gapNs: number): LaunchStage {
  const planned = Array.from({ length: 100 }, (_, index) =>
    outgoing({ intendedOffsetNs: (index + 1) * gapNs }, index),
  );
  return new LaunchStage(planned, CONNECTIONS);
}

describe('how far ahead a sender lays out', () => {
  test.each([
    ['eight requests of what comes a millisecond apart', MS, 8],
    ['all that is due within 4 ms where that is more', MS / 5, 20],
    ['as many as there is room for where they are nearer still', MS / 100, LAUNCH_SLOTS],
  ])('%s, and it wants more', (_title, gapNs, count) => {
    const stage = stageOf(gapNs);
    stage.at(0);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(count);
    expect(stage.pad.hasMore(0)).toBe(true);
  });

  test('no farther than a quarter of a second, and then it wants no more', () => {
    const stage = stageOf(100 * MS);
    stage.at(0);
    stage.launches.layOut();
    expect(stage.launches.size).toBe(2);
    expect(stage.pad.hasMore(0)).toBe(false);
  });
});

describe('a request that has not left in time', () => {
  test('is its sender’s again', () => {
    const stage = stageOf(10 * MS);
    stage.at(0);
    stage.launches.layOut();
    stage.at(10 * MS + 49_000);
    stage.launches.settle();
    expect(stage.told).toEqual([]);
    stage.at(11 * MS);
    stage.launches.settle();
    expect(stage.told).toEqual(['overdue 0']);
    expect(stage.launches.size).toBe(0);
  });
});
