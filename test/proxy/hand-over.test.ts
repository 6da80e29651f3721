import { describe, expect, it } from 'vitest';
import { HandOver } from '../../src/proxy/hand-over.ts';

const NOTHING = { bytes: 0, turns: 0 };
const PENDING = { bytes: 900, turns: 9 };

function lastWords(pipe: number, bytes: number, turns: number) {
  return { handed: { pipe, bytes, turns }, pending: PENDING };
}

describe('what was on its way when a forwarder died', () => {
  it.each([
    ['the forwarder', true],
    ['the pipe', false],
  ])('is what it had handed over less what was heard, where %s is the first to end', (_, forwarderFirst) => {
    const handOver = new HandOver();
    handOver.joined(0);
    const pipe = handOver.joined(1);
    const last = lastWords(pipe, 1_000, 10);
    const ends = [
      () => handOver.forwarderEnded(last),
      () => handOver.feedEnded(1, 0, { bytes: 600, turns: 7 }),
    ];
    const [first, second] = forwarderFirst ? ends : ends.reverse();
    expect(first?.()).toEqual(NOTHING);
    expect(second?.()).toEqual({ bytes: 400, turns: 3 });
  });

  it('is nothing where more was heard than its last words knew of', () => {
    const handOver = new HandOver();
    const pipe = handOver.joined(0);
    handOver.feedEnded(0, 0, { bytes: 5_000, turns: 50 });
    expect(handOver.forwarderEnded(lastWords(pipe, 1_000, 10))).toEqual(NOTHING);
  });

  it('is told of each life by itself, where several follow each other in a place', () => {
    const handOver = new HandOver();
    const [first, second] = [handOver.joined(0), handOver.joined(0)];
    expect(handOver.forwarderEnded(lastWords(first, 100, 1))).toEqual(NOTHING);
    expect(handOver.forwarderEnded(lastWords(second, 200, 2))).toEqual(NOTHING);
    expect(handOver.feedEnded(0, 1, NOTHING)).toEqual({ bytes: 200, turns: 2 });
    expect(handOver.feedEnded(0, 0, NOTHING)).toEqual({ bytes: 100, turns: 1 });
  });

  it('is all that was pending, where the recorder dies too', () => {
    const handOver = new HandOver();
    handOver.forwarderEnded(lastWords(handOver.joined(0), 100, 1));
    expect(handOver.recorderEnded()).toEqual(PENDING);
    expect(handOver.recorderEnded()).toEqual(NOTHING);
  });

  it('is all that was pending, where its last words are of a recorder that is gone', () => {
    const handOver = new HandOver();
    const pipe = handOver.joined(0);
    handOver.recorderEnded();
    handOver.joined(0);
    expect(handOver.forwarderEnded(lastWords(pipe, 100, 1))).toEqual(PENDING);
  });

  it('is nothing after an end in good order', () => {
    const handOver = new HandOver();
    handOver.joined(0);
    handOver.feedEnded(0, 0, { bytes: 600, turns: 7 });
    const drained = { handed: { pipe: 0, bytes: 0, turns: 0 }, pending: NOTHING };
    expect(handOver.forwarderEnded(drained)).toEqual(NOTHING);
  });
});
