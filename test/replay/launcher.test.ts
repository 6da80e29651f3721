import { describe, expect, test } from 'vitest';
import { LaunchStage } from '../support/launch-stage.ts';
import { preempted } from '../support/preempted.ts';
import { outgoing } from '../support/transport-stage.ts';

const KIB = 1_024;

/** So many requests that are due at once, each with a body of so many bytes or none. */
function tied(count: number, bodyBytes = 0): ReturnType<typeof outgoing>[] {
  const body = bodyBytes === 0 ? null : Buffer.alloc(bodyBytes, 'x');
  return Array.from({ length: count }, (_, index) => outgoing({ intendedOffsetNs: 1_000, body }, index));
}

function laidOut(stage: LaunchStage): LaunchStage {
  stage.launches.layOut();
  return stage;
}

describe('a launcher', () => {
  test('writes the bytes that were laid out, no more, to the connection that is kept for them', () => {
    const stage = laidOut(new LaunchStage(tied(2)));
    expect([stage.due(), stage.due()]).toEqual([true, true]);
    expect(stage.written).toEqual(['10: <0>', '11: <1>']);
    expect(stage.inFlight.requests).toBe(2);
  });

  test('launches nothing that was taken back or not laid out', () => {
    const stage = laidOut(new LaunchStage(tied(2)));
    expect(stage.launcher.isReady(0)).toBe(true);
    expect(stage.launcher.pass(0)).toBe(true);
    stage.launches.withdraw();
    expect(stage.launcher.launch(0)).toBe(false);
    expect(stage.launcher.isReady(0)).toBe(false);
    expect(stage.launcher.pass(0)).toBe(false);
    expect([stage.written, stage.inFlight.requests]).toEqual([[], 0]);
  });

  test('and its sender have one of them go on with what is laid out while its instant passes by', () => {
    for (let looks = 0; looks < 3; looks += 1) {
      const stage = new LaunchStage(tied(1));
      const isReady = preempted(
        () => stage.launcher.pass(0),
        looks,
        () => stage.launches.layOut(),
      );
      expect(stage.launches.size).toBe(isReady ? 1 : 0);
    }
  });

  test('refuses what there is no room for among the requests under way, with the instant of that', () => {
    const stage = laidOut(new LaunchStage(tied(3), 3, { maxRequests: 1 }));
    expect(stage.due()).toBe(true);
    stage.at(7);
    expect(stage.due()).toBe(false);
    stage.inFlight.leave();
    expect(stage.due()).toBe(true);
    stage.launches.settle();
    expect(stage.written).toEqual(['10: <0>', '12: <2>']);
    expect(stage.told).toEqual(['launched 0', 'too_many 1', 'launched 2']);
    expect(stage.launched[1]?.end).toEqual({ kind: 'too_many', atNs: stage.clock.nowNs() });
    expect(stage.launched[2]?.end).toMatchObject({ inFlight: 1 });
    expect(stage.transport.withdrawn).toEqual([1]);
  });

  test('refuses what there is no room for among the bodies under way, and counts it no further', () => {
    const stage = laidOut(new LaunchStage(tied(3, 3 * KIB), 3, { maxBodyBytes: 4 * KIB }));
    expect([stage.due(), stage.due()]).toEqual([true, false]);
    expect(stage.inFlight.requests).toBe(1);
    stage.inFlight.leaveBody(3 * KIB);
    expect(stage.due()).toBe(true);
    stage.launches.settle();
    expect(stage.told).toEqual(['launched 0', 'too_heavy 1', 'launched 2']);
    expect(stage.inFlight.requests).toBe(2);
  });

  test.each(['throws', 0] as const)(
    'gives back all of what it counted for a write that took nothing: %s',
    (takes) => {
      const limits = { maxRequests: 1, maxBodyBytes: 3 * KIB };
      const stage = laidOut(new LaunchStage(tied(1, 3 * KIB), 1, limits));
      stage.takes.push(takes);
      expect(stage.due()).toBe(false);
      expect(stage.inFlight.requests).toBe(0);
      // Alone, a body passes whatever its size: room for all of it shows in two that fill the limit.
      const halves = new LaunchStage(tied(1, 2 * KIB), 1, { maxBodyBytes: 4 * KIB });
      expect(halves.inFlight.enter(2 * KIB)).toBe('admitted');
      laidOut(halves).takes.push(takes);
      halves.due();
      expect(halves.inFlight.enter(2 * KIB)).toBe('admitted');
      expect(halves.inFlight.enter(1)).toBe('too_heavy');
      expect(halves.inFlight.requests).toBe(2);
      halves.launches.settle();
      expect(halves.told).toEqual(['failed 0']);
    },
  );

  test('says when the first byte was about to be written, and how many were', () => {
    const stage = laidOut(new LaunchStage(tied(1)));
    const beforeNs = stage.clock.nowNs();
    stage.onWrite = () => stage.clock.advance(500);
    stage.takes.push(2);
    expect(stage.due()).toBe(false);
    stage.launches.settle();
    expect(stage.launched[0]).toMatchObject({
      end: { kind: 'launched', atNs: beforeNs, writtenBytes: 2, inFlight: 1 },
      rest: Buffer.from('>'),
    });
  });

  test('leaves a request to its sender, untouched', () => {
    const stage = laidOut(new LaunchStage(tied(2)));
    stage.launcher.pass(0);
    stage.launcher.leave(0);
    expect(stage.inFlight.requests).toBe(0);
    stage.launches.settle();
    expect(stage.told).toEqual(['left 0']);
    expect(stage.transport.withdrawn).toEqual([1, 0]);
    expect(stage.transport.discarded).toEqual([]);
    expect(stage.written).toEqual([]);
  });
});
