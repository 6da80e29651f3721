import { describe, expect, it } from 'vitest';
import type { Loss } from '../../src/core/accounting.ts';
import { sumOfLosses, UntoldLosses } from '../../src/proxy/untold-losses.ts';

function loss(bytes: number, reason: Loss['reason'] = 'writer_down'): Loss {
  return { reason, exchanges: 1, bytes, fromUs: bytes, toUs: bytes + 1 };
}

function bytesOf(losses: readonly Loss[]): number {
  return losses.reduce((sum, { bytes }) => sum + bytes, 0);
}

describe('losses that the capture does not know of', () => {
  it('are summed by reason with the span of all', () => {
    expect(sumOfLosses([loss(5), loss(1, 'quota')], [loss(9)])).toEqual([
      { reason: 'writer_down', exchanges: 2, bytes: 14, fromUs: 5, toUs: 10 },
      { reason: 'quota', exchanges: 1, bytes: 1, fromUs: 1, toUs: 2 },
    ]);
  });

  it('are kept until the recorder has heard of them', () => {
    const untold = new UntoldLosses();
    untold.add([loss(5)]);
    const first = untold.tell();
    untold.add([loss(7)]);
    const second = untold.tell();
    expect([first?.losses, second?.losses].map((losses) => bytesOf(losses ?? []))).toEqual([5, 7]);
    expect(untold.tell()).toBeNull();
    expect(bytesOf(untold.all)).toBe(12);
    untold.heard(first?.number ?? 0);
    expect(bytesOf(untold.all)).toBe(7);
    untold.heard(second?.number ?? 0);
    expect(untold.all).toEqual([]);
  });

  it('are told to the next recorder when the one before died with them', () => {
    const untold = new UntoldLosses();
    untold.add([loss(5)]);
    untold.tell();
    untold.recorderEnded([loss(100, 'disk_full')]);
    expect(bytesOf(untold.tell()?.losses ?? [])).toBe(105);
  });

  it('are what is left when a recorder ends in good order', () => {
    const untold = new UntoldLosses();
    untold.add([loss(5), loss(6, 'quota')]);
    untold.tell();
    untold.recorderStopped([loss(6, 'quota')]);
    expect(untold.all).toEqual([loss(6, 'quota')]);
  });

  it('are also what came about when a recorder had already been told to end', () => {
    const untold = new UntoldLosses();
    untold.add([loss(5)]);
    untold.tell();
    untold.add([loss(7)]);
    untold.recorderStopped([]);
    expect(untold.all).toEqual([loss(7)]);
  });
});
