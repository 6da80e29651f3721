import { describe, expect, it } from 'vitest';
import { giveBack } from '../../src/core/spent-memory.ts';

const MANY = 64 * 1024;

describe('memory that is given back', () => {
  it('is free at once, through whatever view of all of it', () => {
    const bytes = Buffer.allocUnsafeSlow(MANY);
    const view = bytes.subarray(10);
    giveBack(new Uint8Array(bytes.buffer));
    expect([bytes.length, view.length, bytes.buffer.byteLength]).toEqual([0, 0, 0]);
    // A second time nothing is left to give.
    giveBack(bytes);
  });

  it.each([
    ['is a part of other memory', Buffer.allocUnsafeSlow(2 * MANY).subarray(0, MANY)],
    ['lies in the pool', Buffer.from('short')],
    ['is short', Buffer.allocUnsafeSlow(1_000)],
    ['belongs to several threads', Buffer.from(new SharedArrayBuffer(MANY))],
  ])('is left alone when it %s', (_, bytes) => {
    const { length } = bytes;
    giveBack(bytes);
    expect(bytes.length).toBe(length);
  });
});
