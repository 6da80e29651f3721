import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { type FrameListener, FrameReader } from '../../src/http2/frames.ts';
import {
  cut,
  dataFrame,
  FRAME_FLAG,
  FRAME_TYPE,
  frame,
  headerFrames,
  settingsFrame,
  uint32,
} from '../support/http2-frames.ts';
import { repeated } from '../support/long-form.ts';

/** What was read, as one line an event. Consecutive pieces of a frame are joined. */
class Events implements FrameListener {
  readonly lines: string[] = [];
  refuses = false;
  #data: Buffer[] = [];
  #announced = 0;

  headers(stream: number, block: Buffer, endsStream: boolean): boolean {
    this.lines.push(`headers ${stream} ${block.toString('hex')} ${endsStream}`);
    return !this.refuses;
  }
  promised(block: Buffer): boolean {
    this.lines.push(`promised ${block.toString('hex')}`);
    return !this.refuses;
  }
  dataBegins(_: number, length: number): void {
    this.#announced = length;
    this.#data = [];
  }
  data(bytes: Buffer): void {
    this.#data.push(Buffer.from(bytes));
  }
  dataEnds(stream: number, endsStream: boolean): void {
    const bytes = Buffer.concat(this.#data);
    expect(bytes.length).toBe(this.#announced);
    this.lines.push(`data ${stream} ${bytes.toString('hex')} ${endsStream}`);
  }
  reset(stream: number, code: number): void {
    this.lines.push(`reset ${stream} ${code}`);
  }
  goAway(lastStream: number): void {
    this.lines.push(`goAway ${lastStream}`);
  }
  headerTableSize(bytes: number): void {
    this.lines.push(`table ${bytes}`);
  }
}

function readAll(pieces: readonly Buffer[]) {
  const events = new Events();
  const reader = new FrameReader(events);
  const stopped = pieces.map((piece) => reader.read(piece));
  return { lines: events.lines, broken: reader.broken, stopped };
}

const START = settingsFrame();
const PING = frame(FRAME_TYPE.ping, 0, 0, Buffer.alloc(8));

const stream = fc.integer({ min: 1, max: 0x7fff_ffff });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const padding = fc.option(fc.constantFrom(0, 1, 7, 255));
const anyFrame = fc.oneof(
  fc.record({ stream, bytes, padding, endStream: fc.boolean() }).map(({ stream, bytes, ...form }) => ({
    wire: dataFrame(stream, bytes, form),
    line: `data ${stream} ${bytes.toString('hex')} ${form.endStream}`,
  })),
  fc
    .record({
      stream,
      bytes,
      padding,
      endStream: fc.boolean(),
      priority: fc.boolean(),
      fragments: fc.integer({ min: 1, max: 4 }),
    })
    .map(({ stream, bytes, ...form }) => ({
      wire: headerFrames(stream, bytes, form),
      line: `headers ${stream} ${bytes.toString('hex')} ${form.endStream}`,
    })),
  fc.record({ stream, bytes }).map(({ stream, bytes }) => ({
    wire: frame(FRAME_TYPE.push, FRAME_FLAG.endHeaders, stream, Buffer.concat([uint32(2), bytes])),
    line: `promised ${bytes.toString('hex')}`,
  })),
  fc.record({ stream, code: fc.nat() }).map(({ stream, code }) => ({
    wire: frame(FRAME_TYPE.reset, 0, stream, uint32(code)),
    line: `reset ${stream} ${code}`,
  })),
  fc.record({ stream, bytes }).map(({ stream, bytes }) => ({
    wire: frame(FRAME_TYPE.goAway, 0, 0, Buffer.concat([uint32(stream), uint32(0), bytes])),
    line: `goAway ${stream}`,
  })),
  fc.nat().map((size) => ({ wire: settingsFrame([3, 100], [1, size]), line: `table ${size}` })),
  fc
    .record({ type: fc.constantFrom(2, 6, 8, 10, 0xf0, 255), flags: fc.nat(255), stream, bytes })
    .map(({ type, flags, stream, bytes }) => ({ wire: frame(type, flags, stream, bytes), line: null })),
);

it('gives what any row of frames contains, wherever the bytes are cut', () => {
  const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 12 }), shares, (frames, places) => {
      const wire = Buffer.concat([START, ...frames.map((one) => one.wire)]);
      const lines = frames.flatMap(({ line }) => line ?? []);
      for (const pieces of [[wire], cut(wire, places)]) {
        expect(readAll(pieces)).toEqual({
          lines,
          broken: false,
          stopped: pieces.map(({ length }) => length),
        });
      }
    }),
    { numRuns: repeated(40, 200) },
  );
});

it('gives the same byte by byte', () => {
  const wire = Buffer.concat([
    START,
    headerFrames(1, Buffer.from('abcdef'), { padding: 3, priority: true, fragments: 3 }),
    dataFrame(1, Buffer.from('xyz'), { padding: 2 }),
    dataFrame(1, Buffer.alloc(0), { endStream: true }),
  ]);
  const pieces = [...wire].map((byte) => Buffer.from([byte]));
  expect(readAll(pieces).lines).toEqual([
    'headers 1 616263646566 false',
    'data 1 78797a false',
    'data 1  true',
  ]);
});

describe('stops at the frame that it cannot read on from:', () => {
  const { headers, data, continuation, settings, reset, push, goAway } = FRAME_TYPE;
  it.each([
    ['DATA of the connection', frame(data, 0, 0)],
    ['HEADERS of the connection', frame(headers, FRAME_FLAG.endHeaders, 0)],
    ['SETTINGS of a stream', frame(settings, 0, 1)],
    ['SETTINGS of five bytes', frame(settings, 0, 0, Buffer.alloc(5))],
    ['an acknowledgement with settings', frame(settings, FRAME_FLAG.ack, 0, Buffer.alloc(6))],
    ['a reset of three bytes', frame(reset, 0, 1, Buffer.alloc(3))],
    ['a GOAWAY of seven bytes', frame(goAway, 0, 0, Buffer.alloc(7))],
    ['a CONTINUATION of nothing', frame(continuation, FRAME_FLAG.endHeaders, 1)],
    ['padding longer than DATA', frame(data, FRAME_FLAG.padded, 1, Buffer.from([3, 0, 0]))],
    ['padded DATA without its length', frame(data, FRAME_FLAG.padded, 1)],
    ['padding longer than HEADERS', frame(headers, FRAME_FLAG.padded | 4, 1, Buffer.from([2, 0]))],
    ['HEADERS without their priority', frame(headers, FRAME_FLAG.priority | 4, 1, Buffer.alloc(4))],
    ['a PUSH_PROMISE without its stream', frame(push, 4, 1, Buffer.alloc(3))],
    ['HEADERS over the limit', frame(headers, 4, 1, Buffer.alloc(LIMITS.headerListBytes + 513))],
  ])('%s', (_, wire) => {
    const before = Buffer.concat([START, PING]);
    const { broken, stopped } = readAll([Buffer.concat([before, wire, PING])]);
    expect({ broken, stopped }).toEqual({ broken: true, stopped: [before.length] });
  });

  it('another frame within a header block', () => {
    const begun = frame(headers, 0, 1, Buffer.from('a'));
    for (const wire of [PING, dataFrame(1, Buffer.from('b')), frame(continuation, 4, 3, Buffer.from('b'))])
      expect(readAll([START, begun, wire])).toMatchObject({ broken: true, stopped: [9, 10, 0] });
  });

  it('a first frame that is no SETTINGS', () => {
    expect(readAll([PING])).toMatchObject({ broken: true, stopped: [0] });
    expect(readAll([Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]).broken).toBe(true);
  });

  it('a header block without an end', () => {
    const piece = frame(continuation, 0, 1, Buffer.alloc(16_384));
    const most = Math.floor(LIMITS.headerListBytes / 16_384);
    const begun = [START, frame(headers, 0, 1)];
    expect(readAll([...begun, ...Array(most).fill(piece)]).broken).toBe(false);
    expect(readAll([...begun, ...Array(most + 1).fill(piece)]).broken).toBe(true);
    const empty = frame(continuation, 0, 1);
    expect(readAll([...begun, ...Array(LIMITS.headerContinuations).fill(empty)]).broken).toBe(false);
    expect(readAll([...begun, ...Array(LIMITS.headerContinuations + 1).fill(empty)]).broken).toBe(true);
  });

  it('a header block that cannot be decoded', () => {
    const events = new Events();
    events.refuses = true;
    const reader = new FrameReader(events);
    const wire = Buffer.concat([START, headerFrames(1, Buffer.from('a')), PING]);
    expect(reader.read(wire)).toBe(START.length);
    expect(reader.read(headerFrames(3, Buffer.from('b')))).toBe(0);
    expect(events.lines).toEqual(['headers 1 61 false']);
  });
});

it('never throws on random bytes', () => {
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 8 }), (pieces) => {
      const { stopped } = readAll([START, ...pieces]);
      expect(stopped).toHaveLength(pieces.length + 1);
    }),
    { numRuns: repeated(200, 1_000) },
  );
});
