import { describe, expect, test } from 'vitest';
import { LaunchPad } from '../../src/replay/launch-pad.ts';
import { prepared } from '../support/prepared.ts';
import { atOnce, MS, Stage } from '../support/sender-stage.ts';

/** A sender whose connections are asked for, and refused, so often. */
function stage(): { readonly stage: Stage; readonly asked: number[] } {
  const asked: number[] = [];
  const stage = new Stage(atOnce, {}, {}, { pad: { pad: LaunchPad.create(1), sender: 0 } });
  Object.assign(stage.transport, {
    layOut: ({ index }: { readonly index: number }) => {
      asked.push(index);
      return null;
    },
  });
  return { stage, asked };
}

describe('a sender that may lay requests out', () => {
  test('does', () => {
    const { stage: sender, asked } = stage();
    sender.hand([prepared(0, 40 * MS), prepared(1, 60 * MS)]);
    sender.playTo(50 * MS);
    expect(new Set(asked)).toEqual(new Set([0, 1]));
  });

  test('does not while a follow-up waits: that would find no idle connection', () => {
    const { stage: sender, asked } = stage();
    sender.follow([prepared(1, 50 * MS, { follows: { after: 0, from: 'end', delayNs: 10 * MS } })]);
    sender.hand([prepared(0, 40 * MS, { follows: null }), prepared(2, 90 * MS)]);
    sender.playTo(45 * MS);
    expect(asked).toEqual([]);
    expect(sender.transport.sent.map(({ index }) => index)).toEqual([0]);
    sender.playTo(80 * MS);
    expect(sender.transport.sent.map(({ index }) => index)).toEqual([0, 1]);
    expect(new Set(asked)).toEqual(new Set([2]));
  });
});
