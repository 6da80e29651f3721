import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sumOf } from '../support/forwarder-life.ts';
import { RecordingLives } from '../support/recording-lives.ts';

const FORWARDERS = 2;
const TAPS = 2;

const slot = fc.nat(FORWARDERS - 1);
const tap = fc.nat(TAPS - 1);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('talk' as const),
      slot,
      tap,
      large: fc.nat(5).map((n) => n === 0),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('hang up' as const), slot, tap }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('commit' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('beat' as const), slot }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('tell' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('start recorder' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('open capture' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('freeze recorder' as const), hangs: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kill recorder' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('kill forwarder' as const), slot, pipeFirst: fc.boolean() }),
  },
);

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never;

async function play(lives: RecordingLives, one: Step): Promise<void> {
  if (one.do === 'talk') lives.forwarders[one.slot]?.talk(one.tap, one.large);
  else if (one.do === 'hang up') lives.forwarders[one.slot]?.hangUp(one.tap);
  else if (one.do === 'deliver') await lives.deliver();
  else if (one.do === 'commit') await lives.commit();
  else if (one.do === 'beat') lives.beat(one.slot);
  else if (one.do === 'tell') lives.tell();
  else if (one.do === 'start recorder') lives.startRecorder();
  else if (one.do === 'open capture') await lives.openCapture();
  else if (one.do === 'freeze recorder') await lives.freezeRecorder(one.hangs);
  else if (one.do === 'kill recorder') await lives.killRecorder();
  else await lives.killForwarder(one.slot, one.pipeFirst);
}

/** What the capture holds is exactly what passed. */
async function expectHeldOnce(lives: RecordingLives): Promise<void> {
  await lives.end();
  expect(lives.held).toEqual(lives.passed);
}

describe('a loss', () => {
  it('is not counted twice when a forwarder dies while the recorder is coming back', async () => {
    const lives = new RecordingLives(1);
    lives.forwarders[0]?.talk(0, false);
    lives.startRecorder();
    lives.forwarders[0]?.hangUp(0);
    await lives.deliver();
    await lives.killRecorder();
    // Another one is there, and told at once; it reads nothing of it yet.
    lives.startRecorder();
    await lives.deliver();
    lives.beat(0);
    await lives.killForwarder(0, false);
    await lives.openCapture();
    await expectHeldOnce(lives);
  });

  it('is not counted twice when the forwarder dies before it says that there is a recorder again', async () => {
    const lives = new RecordingLives(1);
    lives.startRecorder();
    await lives.openCapture();
    lives.forwarders[0]?.talk(0, false);
    await lives.deliver();
    lives.beat(0);
    await lives.killRecorder();
    lives.startRecorder();
    await lives.openCapture();
    await lives.deliver();
    await lives.killForwarder(0, true);
    await expectHeldOnce(lives);
  });

  it('is not counted twice when the recorder noted it after the last words of a forwarder', async () => {
    const lives = new RecordingLives(1);
    lives.forwarders[0]?.talk(0, false);
    lives.forwarders[0]?.hangUp(0);
    lives.beat(0);
    lives.startRecorder();
    await lives.openCapture();
    await lives.deliver();
    await lives.killForwarder(0, false);
    await expectHeldOnce(lives);
  });

  it('is not counted twice when it was being shed at the last words of a forwarder, and told after them', async () => {
    const lives = new RecordingLives(1);
    lives.startRecorder();
    await lives.openCapture();
    lives.forwarders[0]?.talk(0, true);
    lives.beat(0);
    lives.forwarders[0]?.hangUp(0);
    await lives.deliver();
    await lives.killForwarder(0, false);
    await expectHeldOnce(lives);
  });

  it('of a stretch that was shed is not forgotten when the recorder dies that was told of it', async () => {
    const lives = new RecordingLives(1);
    lives.startRecorder();
    await lives.openCapture();
    lives.forwarders[0]?.talk(0, true);
    lives.forwarders[0]?.hangUp(0);
    await lives.deliver();
    await lives.killRecorder();
    await expectHeldOnce(lives);
  });

  it('is not forgotten when a forwarder and the recorder it was told to both die', async () => {
    const lives = new RecordingLives(1);
    lives.forwarders[0]?.talk(0, false);
    lives.startRecorder();
    await lives.deliver();
    lives.beat(0);
    await lives.killForwarder(0, false);
    await lives.killRecorder();
    await expectHeldOnce(lives);
  });
});

describe('what passed', () => {
  it('is in the capture once, recorded or as lost, whoever of forwarders and recorders dies, and when', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
        const lives = new RecordingLives(FORWARDERS);
        for (const one of steps) await play(lives, one);
        await lives.end();
        const { held, said, passed, unheard } = lives;
        // What a forwarder had said of is never missing. What it had not may have come through its pipe.
        expect(held.exchanges).toBeGreaterThanOrEqual(said.exchanges);
        expect(held.bytes).toBeGreaterThanOrEqual(said.bytes);
        // Twice is only what a recorder noted and took down with it, word of it being lost with a forwarder.
        const most = sumOf(passed, unheard);
        expect(held.exchanges).toBeLessThanOrEqual(most.exchanges);
        expect(held.bytes).toBeLessThanOrEqual(most.bytes);
      }),
      // A failure that is still being shrunk when the test's time is over would be told as a time-out. Too slow is one.
      { numRuns: 120, plugins: [fc.interruptAfterTimeLimit(25_000, { failOnInterrupt: true })] },
    );
  });
});
