import { describe, expect, it } from 'vitest';
import type { Loss, LossReason } from '../../src/core/accounting.ts';
import { HandOver, type Heard, type LastWords } from '../../src/proxy/hand-over.ts';
import { ManualClock } from '../support/manual-clock.ts';

const PENDING = { bytes: 900, turns: 9 };
const NOTHING_HEARD = heard(0, 0);

function lossOf(reason: LossReason, bytes: number, exchanges: number): Loss {
  return { reason, bytes, exchanges, fromUs: 5, toUs: 7 };
}

function heard(bytes: number, turns: number, losses: readonly Loss[] = []): Heard {
  return { bytes, turns, losses };
}

function lastWords(pipe: number, bytes: number, turns: number, more: Partial<LastWords> = {}): LastWords {
  return { handed: { pipe, open: true, bytes, turns }, pending: PENDING, untold: [], noted: [], ...more };
}

function makeHandOver(): HandOver {
  return new HandOver(new ManualClock());
}

describe('what was on its way when a forwarder died', () => {
  it.each([
    ['the forwarder', true],
    ['the pipe', false],
  ])('is what it had handed over less what was heard, where %s is the first to end', (_, forwarderFirst) => {
    const handOver = makeHandOver();
    handOver.joined(0);
    const pipe = handOver.joined(1);
    const last = lastWords(pipe, 1_000, 10, {
      untold: [lossOf('writer_down', 50, 5), lossOf('queue_bytes', 30, 3)],
      noted: [lossOf('writer_down', 20, 2)],
    });
    const losses = [lossOf('writer_down', 60, 6), lossOf('queue_bytes', 40, 4)];
    const ends = [
      () => handOver.forwarderEnded(1, last),
      () => handOver.feedEnded(1, 0, heard(600, 7, losses)),
    ];
    const [first, second] = forwarderFirst ? ends : ends.reverse();
    expect(first?.()).toEqual([]);
    const owed = second?.();
    expect(owed).toHaveLength(2);
    expect(owed).toMatchObject([
      { reason: 'crash_gap', bytes: 400, exchanges: 3 },
      // Of the 70 that were known, 60 were heard; of the other reason more was heard than was known.
      { reason: 'writer_down', bytes: 10, exchanges: 1 },
    ]);
  });

  it('is nothing where more was heard than its last words knew of', () => {
    const handOver = makeHandOver();
    const pipe = handOver.joined(0);
    handOver.feedEnded(0, 0, heard(5_000, 50));
    expect(handOver.forwarderEnded(0, lastWords(pipe, 1_000, 10))).toEqual([]);
  });

  it('is told of each life by itself, where several follow each other in a place', () => {
    const handOver = makeHandOver();
    const first = handOver.joined(0);
    expect(handOver.forwarderEnded(0, lastWords(first, 100, 1))).toEqual([]);
    const second = handOver.joined(0);
    expect(handOver.forwarderEnded(0, lastWords(second, 200, 2))).toEqual([]);
    expect(handOver.feedEnded(0, 1, NOTHING_HEARD)).toMatchObject([{ bytes: 200, exchanges: 2 }]);
    expect(handOver.feedEnded(0, 0, NOTHING_HEARD)).toMatchObject([{ bytes: 100, exchanges: 1 }]);
  });

  it('is all that was pending and untold, where the recorder dies too', () => {
    const handOver = makeHandOver();
    const untold = [lossOf('writer_down', 50, 5)];
    const noted = [lossOf('writer_down', 20, 2)];
    handOver.forwarderEnded(0, lastWords(handOver.joined(0), 100, 1, { untold, noted }));
    const owed = [
      { reason: 'writer_down', bytes: 50, exchanges: 5 },
      { reason: 'crash_gap', bytes: 900, exchanges: 9 },
    ];
    expect(handOver.unresolved).toMatchObject(owed);
    expect(handOver.recorderEnded()).toMatchObject(owed);
    expect(handOver.recorderEnded()).toEqual([]);
  });

  it('is what it may have told the recorder that is there, where its last words are of one that is gone', () => {
    const handOver = makeHandOver();
    const pipe = handOver.joined(0);
    handOver.recorderEnded();
    handOver.joined(0);
    const last = lastWords(pipe, 100, 1, {
      untold: [lossOf('writer_down', 50, 5)],
      noted: [lossOf('writer_down', 20, 2)],
    });
    expect(handOver.forwarderEnded(0, last)).toEqual([]);
    expect(handOver.unresolved).toMatchObject([{ reason: 'writer_down', bytes: 950, exchanges: 14 }]);
    // What was pending went down with the recorder, and that is what the forwarder told the next one.
    const losses = [lossOf('writer_down', 800, 12)];
    expect(handOver.feedEnded(0, 0, heard(77, 7, losses))).toMatchObject([
      { reason: 'writer_down', bytes: 150, exchanges: 2 },
    ]);
  });

  it('is what it had not told, after an end in good order or where it knew the recorder gone', () => {
    const handOver = makeHandOver();
    const pipe = handOver.joined(0);
    handOver.feedEnded(0, 0, heard(600, 7, [lossOf('writer_down', 20, 2)]));
    const drained = {
      handed: { pipe, open: false, bytes: 0, turns: 0 },
      pending: { bytes: 0, turns: 0 },
      noted: [lossOf('writer_down', 20, 2)],
    };
    const untold = [lossOf('shutdown_timeout', 10, 1)];
    expect(handOver.forwarderEnded(0, { ...drained, untold })).toEqual(untold);
  });
});
