import { describe, expect, it } from 'vitest';
import { fleetShare, mostAtOnce } from '../../src/storage/fleet-coverage.ts';

const HOUR_US = 3_600_000_000;
const hours = (from: number, to: number) => ({ fromUs: from * HOUR_US, toUs: to * HOUR_US });

describe('the share of a fleet that was recorded', () => {
  it('is not lowered by hours in which the recorders that are here saw nothing: the missing one saw nothing either', () => {
    const night = new Map([
      [0, 20],
      [23, 10],
    ]);
    expect(fleetShare(3, [[hours(0, 24)], [hours(0, 24)]], night)).toBeCloseTo(2 / 3, 12);
  });

  it('takes an hour without any recorder for a mean hour', () => {
    const counts = new Map([
      [0, 10],
      [2, 30],
    ]);
    // 40 in two recorded hours; the hour between is taken to have had 20.
    expect(fleetShare(1, [[hours(0, 1), hours(2, 3)]], counts)).toBeCloseTo(40 / 60, 12);
  });
});

describe('the most recorders that were there at once', () => {
  it.each([
    ['none', [], 0],
    ['one after the other, to the very instant', [[hours(0, 1)], [hours(1, 2)]], 1],
    [
      'one that comes back while another is there',
      [[hours(0, 1), hours(3, 4)], [hours(2, 5)], [hours(1, 2)]],
      2,
    ],
    ['all', [[hours(0, 9)], [hours(1, 2)], [hours(1, 2)]], 3],
  ])('%s', (_, presence, most) => {
    expect(mostAtOnce(presence)).toBe(most);
  });
});
