import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { BlockSlots } from '../../src/storage/block-slots.ts';
import { encodeSlots } from '../../src/storage/message-codec.ts';

const slots = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 40 });

function packed(all: readonly Uint8Array[]): Buffer {
  return Buffer.from(encodeSlots(all));
}

describe('the slots of a block', () => {
  it('are what was put there, each as it is asked for', () => {
    fc.assert(
      fc.property(slots, (all) => {
        const read = new BlockSlots(packed(all), all.length, 'a segment');
        expect(read.length).toBe(all.length);
        expect([...read].map((slot) => [...slot])).toEqual(all.map((slot) => [...slot]));
        expect(all.map((_, at) => [...(read.at(at) ?? [])])).toEqual(all.map((slot) => [...slot]));
        expect(read.at(all.length)).toBeUndefined();
        expect(read.at(-1)).toBeUndefined();
      }),
    );
  });

  it('are refused, naming the segment, where the block is cut off, longer, or of another number of slots', () => {
    const damaged = expect.objectContaining({
      code: 'CAPTURE_DAMAGED',
      message: expect.stringContaining('a segment'),
    });
    const failure = (raw: Buffer, count: number) => {
      try {
        return new BlockSlots(raw, count, 'a segment');
      } catch (error) {
        return error;
      }
    };
    fc.assert(
      fc.property(slots, fc.nat(), (all, at) => {
        const whole = packed(all);
        expect(failure(whole, all.length + 1)).toEqual(damaged);
        expect(failure(Buffer.concat([whole, Buffer.from([0])]), all.length)).toEqual(damaged);
        expect(failure(whole.subarray(0, at % whole.length), all.length)).toEqual(damaged);
      }),
    );
    expect(failure(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 2 ** 32 - 1)).toEqual(damaged);
    expect(failure(Buffer.from([0x91, 0xc0]), 1)).toBeInstanceOf(AppError);
  });
});
