import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeSettlements,
  FRAME,
  FRAME_HEADER_BYTES,
  type FrameHead,
  FrameReader,
  type PipeSettlement,
  SettlementReader,
  writeFrameHeader,
} from '../../../src/proxy/tap/frames.ts';
import { repeated } from '../../support/long-form.ts';

interface Written extends FrameHead {
  readonly bytes: number;
}

const written: fc.Arbitrary<Written> = fc.record({
  type: fc.constantFrom(FRAME.message, FRAME.clientBytes, FRAME.serverBytes),
  bytes: fc.oneof(fc.nat(40), fc.integer({ min: 0, max: 70_000 })),
  turnStart: fc.boolean(),
  allAnswered: fc.boolean(),
  connection: fc.nat(1_000),
  atNs: fc.double({ min: 0, noNaN: true }),
});

function headerOf(head: FrameHead, payloadBytes: number): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  writeFrameHeader(header, 0, head, payloadBytes);
  return header;
}

/** All of them behind each other; each byte says which frame it is of, and where in it. */
function streamOf(frames: readonly Written[]): Buffer {
  return Buffer.concat(
    frames.map((frame, number) => {
      const payload = Buffer.alloc(frame.bytes);
      for (let at = 0; at < frame.bytes; at += 1) payload[at] = (number * 37 + at) & 0xff;
      return Buffer.concat([headerOf(frame, frame.bytes), payload]);
    }),
  );
}

/** Cut into pieces; each is spoilt as soon as it was pushed. */
function push(stream: Buffer, cuts: readonly number[], reader: { push(chunk: Buffer): void }): void {
  const places = [...cuts.map((cut) => Math.min(stream.length, Math.round(cut))), stream.length];
  let from = 0;
  for (const to of places.sort((a, b) => a - b)) {
    const chunk = Buffer.from(stream.subarray(from, to));
    reader.push(chunk);
    chunk.fill(0xee);
    from = to;
  }
}

/** The stream that frames make which are read of it when it is cut so. */
function readIn(stream: Buffer, cuts: readonly number[]) {
  const heads: Written[] = [];
  const bytes: Buffer[] = [];
  const reader = new FrameReader(({ payload, ...head }) => {
    heads.push({ ...head, bytes: payload.length });
    bytes.push(headerOf(head, payload.length), Buffer.from(payload));
  });
  push(stream, cuts, reader);
  return { heads, stream: Buffer.concat(bytes) };
}

describe('frames that are read', () => {
  it('are whole wherever a header or a frame is cut', () => {
    const head = { turnStart: true, allAnswered: false, connection: 2, atNs: 7 };
    const frames: Written[] = [
      { type: FRAME.clientBytes, ...head, bytes: 30_000 },
      { type: FRAME.message, ...head, bytes: 16 },
      { type: FRAME.serverBytes, ...head, bytes: 0 },
      { type: FRAME.serverBytes, ...head, bytes: 16_385 },
    ];
    const stream = streamOf(frames);
    const starts = frames.map((_, index) => streamOf(frames.slice(0, index)).length);
    const within = [0, 1, 4, FRAME_HEADER_BYTES - 1, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + 1];
    const places = starts.flatMap((start) => within.map((offset) => start + offset));
    for (const one of places) {
      for (const other of places) {
        const read = readIn(stream, [one, other]);
        expect(read.heads).toEqual(frames);
        expect(read.stream.equals(stream)).toBe(true);
      }
    }
  });

  it('are those that were written, however the stream is cut', () => {
    const cuts = fc.array(fc.nat(200_000), { maxLength: 12 });
    fc.assert(
      fc.property(fc.array(written, { maxLength: 8 }), cuts, (frames, places) => {
        const stream = streamOf(frames);
        const read = readIn(stream, places);
        expect(read.heads).toEqual(frames);
        expect(read.stream.equals(stream)).toBe(true);
      }),
      { numRuns: repeated(75, 300) },
    );
  });
});

it('settlements are those that were written, however the stream is cut', () => {
  const amounts = { clientEndOffset: 2 ** 40, serverEndOffset: 3, exchanges: 2 };
  const batches: PipeSettlement[][] = [
    [
      { kind: 'recorded', because: null, connection: 1, ...amounts },
      { kind: 'lost', because: 'quota', connection: 2, ...amounts },
    ],
    [{ kind: 'flushed', because: null, connection: 3, ...amounts }],
  ];
  const stream = Buffer.from(batches.map(encodeSettlements).join(''));
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const read: PipeSettlement[] = [];
    push(stream, [cut], new SettlementReader((settlement) => read.push(settlement)));
    expect(read).toEqual(batches.flat());
  }
});
