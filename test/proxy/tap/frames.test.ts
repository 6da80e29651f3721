import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FRAME,
  FRAME_HEADER_BYTES,
  FrameReader,
  type FrameType,
  writeFrameHeader,
} from '../../../src/proxy/tap/frames.ts';

interface Written {
  readonly type: FrameType;
  readonly flags: number;
  readonly connection: number;
  readonly atNs: number;
  readonly bytes: number;
}

const traffic = [FRAME.clientBytes, FRAME.serverBytes] as const;

const written: fc.Arbitrary<Written> = fc
  .tuple(
    fc.constantFrom(...traffic, FRAME.close, FRAME.gap),
    fc.oneof(fc.nat(40), fc.integer({ min: 0, max: 70_000 }), fc.constantFrom(16_383, 16_384, 16_385)),
    fc.nat(3),
    fc.nat(1_000),
  )
  .map(([type, bytes, flags, connection]) => ({ type, flags, connection, atNs: connection / 3, bytes }));

/** All of them behind each other; each byte says which frame it is of, and where in it. */
function streamOf(frames: readonly Written[]): Buffer {
  return Buffer.concat(
    frames.map((frame, number) => {
      const bytes = Buffer.alloc(FRAME_HEADER_BYTES + frame.bytes);
      writeFrameHeader(bytes, 0, frame, frame.bytes);
      for (let at = 0; at < frame.bytes; at += 1) bytes[FRAME_HEADER_BYTES + at] = (number * 37 + at) & 0xff;
      return bytes;
    }),
  );
}

interface Read extends Omit<Written, 'bytes'> {
  readonly payload: Buffer;
}

/** What is handed on of a stream that is cut so; each cut is spoilt as soon as it was pushed. */
function readIn(stream: Buffer, cuts: readonly number[]): Read[] {
  const read: Read[] = [];
  const reader = new FrameReader(({ payload, ...head }) => {
    read.push({ ...(head as Omit<Read, 'payload'>), payload: Buffer.from(payload) });
  });
  const places = [
    ...cuts.map((cut) => Math.min(stream.length, Math.round(cut * stream.length))),
    stream.length,
  ].sort((a, b) => a - b);
  let from = 0;
  for (const to of places) {
    const chunk = Buffer.from(stream.subarray(from, to));
    reader.push(chunk);
    chunk.fill(0xee);
    from = to;
  }
  return read;
}

describe('frames that are read', () => {
  const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

  it('are cut right wherever a header, a part or a frame ends', () => {
    const head = { flags: 3, connection: 2, atNs: 7 };
    const frames: Written[] = [
      { type: FRAME.clientBytes, ...head, bytes: 30_000 },
      { type: FRAME.close, ...head, bytes: 16 },
      { type: FRAME.serverBytes, ...head, bytes: 0 },
      { type: FRAME.serverBytes, ...head, bytes: 16_385 },
    ];
    const stream = streamOf(frames);
    const starts = frames.map((_, index) => streamOf(frames.slice(0, index)).length);
    const within = [0, 1, 4, 23, 24, 25, 24 + 16_383, 24 + 16_384, 24 + 16_385];
    const places = starts.flatMap((start) => within.map((offset) => start + offset));
    for (const one of places) {
      for (const other of places) {
        const read = readIn(stream, [one / stream.length, other / stream.length]);
        const bytes = Buffer.concat(read.map(({ payload }) => payload));
        const all = frames.map((frame, index) => {
          const begin = (starts[index] as number) + FRAME_HEADER_BYTES;
          return stream.subarray(begin, begin + frame.bytes);
        });
        expect([one, other, bytes.equals(Buffer.concat(all))]).toEqual([one, other, true]);
        expect(read.filter(({ flags }) => flags === 3)).toHaveLength(frames.length);
      }
    }
  });

  it('are those that were written, parts of long ones put together, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(written, { maxLength: 8 }), cuts, (frames, places) => {
        const stream = streamOf(frames);
        const read = readIn(stream, places);
        let at = 0;
        for (const { bytes, ...head } of frames) {
          const payloads: Buffer[] = [];
          do {
            const { payload, ...got } = read.shift() as Read;
            // A part that follows has the head of the first, and no flags.
            expect(got).toEqual(payloads.length === 0 ? head : { ...head, flags: 0 });
            payloads.push(payload);
          } while (Buffer.concat(payloads).length < bytes);
          const begin = at + FRAME_HEADER_BYTES;
          expect(Buffer.concat(payloads).equals(stream.subarray(begin, begin + bytes))).toBe(true);
          at = begin + bytes;
        }
        expect(read).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('are whole where they carry no traffic, or little of it', () => {
    fc.assert(
      fc.property(fc.array(written, { maxLength: 8 }), cuts, (frames, places) => {
        const wanted = frames.filter(
          ({ type, bytes }) => bytes <= 16_384 || !traffic.includes(type as never),
        );
        const read = readIn(streamOf(wanted), places);
        expect(read.map(({ payload }) => payload.length)).toEqual(wanted.map(({ bytes }) => bytes));
      }),
      { numRuns: 100 },
    );
  });

  it('come in parts where they are long, without waiting for the rest', () => {
    const stream = streamOf([{ type: FRAME.clientBytes, flags: 1, connection: 1, atNs: 1, bytes: 60_000 }]);
    const read = readIn(stream, [0.5]);
    expect(read.map(({ payload }) => payload.length)).toEqual([30_012 - FRAME_HEADER_BYTES, 30_012]);
  });
});
