import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import type { TimeRange } from '../../../src/core/ports.ts';
import type { RowFilter } from '../../../src/replay/filter.ts';
import { LONE_SEAM_US, Playback } from '../../../src/replay/window/playback.ts';
import type { ReplayWindow } from '../../../src/replay/window/window.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture } from '../../support/memory-capture.ts';

function windowOf(parts: readonly TimeRange[], loops: number | null = 1): ReplayWindow {
  const onceUs = parts.reduce((sum, { fromUs, toUs }) => sum + toUs - 1 - fromUs, 0);
  return {
    fromUs: Math.min(...parts.map(({ fromUs }) => fromUs)),
    toUs: Math.max(...parts.map(({ toUs }) => toUs)),
    parts,
    coverageRanges: parts,
    loops,
    durationNs: null,
    onceNs: onceUs * 1e3,
    plannedSpanNs: onceUs * 1e3 * (loops ?? 1),
    found: null,
  };
}

function captureOf(arrivals: readonly number[]): MemoryCapture {
  return new MemoryCapture(arrivals.map((arrivalUs, id) => exchangeRow({ id, arrivalUs })));
}

function playbackOf(
  source: MemoryCapture,
  window: ReplayWindow,
  selection: RowFilter | null = null,
): Playback {
  return new Playback({ source, window, selection });
}

const played = (rows: Iterable<ExchangeRow>) => [...rows].map(({ id, arrivalUs }) => [id, arrivalUs]);

describe('Playback', () => {
  it('plays one window as it was recorded', () => {
    const source = captureOf([10, 20, 50, 90]);
    const playback = playbackOf(source, windowOf([{ fromUs: 15, toUs: 90 }]));
    expect(played(playback.rows())).toEqual([
      [1, 20],
      [2, 50],
    ]);
    expect(playback).toMatchObject({ passes: 1, filtered: 0, counts: [{ exchanges: 2, selected: 2 }] });
  });

  it('lays windows edge to edge in the order given', () => {
    const source = captureOf([1_000, 1_010, 1_040, 8_000, 8_005]);
    const parts = [
      { fromUs: 7_000, toUs: 9_000 },
      { fromUs: 0, toUs: 2_000 },
    ];
    expect(played(playbackOf(source, windowOf(parts)).rows())).toEqual([
      [3, 8_000],
      [4, 8_005],
      [0, 10_000],
      [1, 10_010],
      [2, 10_040],
    ]);
  });

  it('crosses a week between two windows in the silence that is theirs', () => {
    const weekUs = 7 * 86_400_000_000;
    const source = captureOf([0, 10, weekUs, weekUs + 10]);
    const parts = [
      { fromUs: 0, toUs: 100 },
      { fromUs: weekUs - 5, toUs: weekUs + 100 },
    ];
    expect(played(playbackOf(source, windowOf(parts)).rows()).map(([, us]) => us)).toEqual([0, 10, 105, 115]);
  });

  it('leaves one mean gap between windows that begin and end with an arrival', () => {
    const source = captureOf([0, 10, 20, 500, 510]);
    const parts = [
      { fromUs: 0, toUs: 21 },
      { fromUs: 500, toUs: 511 },
    ];
    const times = played(playbackOf(source, windowOf(parts)).rows()).map(([, us]) => us);
    expect(times).toEqual([0, 10, 20, 30, 40]);
  });

  it('does not make a flood of a lonely burst by repeating it', () => {
    const hourUs = 3_600_000_000;
    const playback = playbackOf(captureOf([7, 8]), windowOf([{ fromUs: 0, toUs: hourUs }], 3));
    const times = played(playback.rows()).map(([, us]) => us);
    expect(times).toEqual([7, 8, hourUs + 7, hourUs + 8, 2 * hourUs + 7, 2 * hourUs + 8]);
  });

  it('keeps a window that holds nothing as a silence', () => {
    const source = captureOf([0, 10, 900, 910]);
    const parts = [
      { fromUs: 0, toUs: 100 },
      { fromUs: 100, toUs: 200 },
      { fromUs: 900, toUs: 1_000 },
    ];
    const playback = playbackOf(source, windowOf(parts));
    expect(played(playback.rows()).map(([, us]) => us)).toEqual([0, 10, 200, 210]);
    expect(playback.counts.map(({ selected }) => selected)).toEqual([2, 0, 2]);
  });

  it('repeats windows so often, in order, with the rate of one pass', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(gaps, fc.integer({ min: 1, max: 6 }), (all, loops) => {
        let at = 1_000;
        const arrivals = all.map((gap) => (at += gap));
        const toUs = (arrivals.at(-1) ?? 0) + 1;
        const playback = playbackOf(captureOf(arrivals), windowOf([{ fromUs: 1_000, toUs }], loops));
        const rows = played(playback.rows());
        expect(rows.map(([id]) => id)).toEqual(
          Array.from({ length: loops }, () => [...arrivals.keys()]).flat(),
        );
        const times = rows.map(([, us]) => us ?? 0);
        expect(times).toEqual([...times].sort((a, b) => a - b));
        const span = (arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0);
        const meanGap = span === 0 ? LONE_SEAM_US : Math.ceil(span / (arrivals.length - 1));
        const period = Math.max(span + meanGap, toUs - 1_000);
        expect(times[arrivals.length * (loops - 1)]).toBe((arrivals[0] ?? 0) + period * (loops - 1));
        expect(playback.passes).toBe(loops);
      }),
    );
  });

  it('goes on for as long as somebody asks, and no longer than there is something to play', () => {
    const endless = playbackOf(captureOf([5, 5, 5]), windowOf([{ fromUs: 0, toUs: 10 }], null));
    const times: number[] = [];
    for (const { arrivalUs } of endless.rows()) {
      times.push(arrivalUs);
      if (times.length === 300) break;
    }
    expect(times.at(-1)).toBe(5 + 99 * LONE_SEAM_US);
    const nothing = playbackOf(captureOf([5]), windowOf([{ fromUs: 0, toUs: 10 }], null), () => false);
    expect([...nothing.rows()]).toEqual([]);
    expect(nothing).toMatchObject({ passes: 0, filtered: 1 });
  });

  it('counts what it leaves out, tells of everything in order, and begins anew when it is read again', () => {
    const odd = ({ id }: ExchangeRow) => id % 2 === 1;
    const playback = playbackOf(
      captureOf([10, 20, 30, 40, 50]),
      windowOf([{ fromUs: 0, toUs: 100 }], 2),
      odd,
    );
    for (const _ of [0, 1]) {
      const everything: number[] = [];
      playback.hear((offsetUs) => everything.push(offsetUs));
      expect(played(playback.rows())).toEqual([
        [1, 20],
        [3, 40],
        [1, 120],
        [3, 140],
      ]);
      expect(everything).toEqual([0, 10, 20, 30, 40, 100, 110, 120, 130, 140]);
      expect(playback).toMatchObject({ passes: 2, filtered: 6, counts: [{ exchanges: 10, selected: 4 }] });
    }
  });

  it('does not count an exchange that was drawn and not used', () => {
    const playback = playbackOf(captureOf([10, 20, 30]), windowOf([{ fromUs: 0, toUs: 100 }]));
    let used = 0;
    for (const _ of playback.rows()) {
      if (used === 2) break;
      used += 1;
    }
    expect(playback.counts).toEqual([{ exchanges: 2, selected: 2 }]);
  });

  it('does not count a pass of which nothing was used', () => {
    const playback = playbackOf(captureOf([10, 20]), windowOf([{ fromUs: 0, toUs: 100 }], null));
    let drawn = 0;
    for (const _ of playback.rows()) {
      drawn += 1;
      if (drawn === 5) break;
    }
    expect(playback.passes).toBe(2);
  });

  it('selects from other stretches without counting them', () => {
    const odd = ({ id }: ExchangeRow) => id % 2 === 1;
    const playback = playbackOf(captureOf([10, 20, 30]), windowOf([{ fromUs: 25, toUs: 100 }]), odd);
    expect(played(playback.rows({ fromUs: 0, toUs: 25 }))).toEqual([[1, 20]]);
    expect(playback.filtered).toBe(0);
  });
});
