import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventData } from '../../src/inference/stream-events.ts';

describe('the data of events', () => {
  it('is the same whether lines end in LF, CRLF or CR, and wherever they are cut', () => {
    const lines = fc.array(fc.constantFrom('data: a', 'data:b', ': ping', 'event: x', '', ''), {
      maxLength: 20,
    });
    const ends = fc.array(fc.constantFrom('\n', '\r\n', '\r'), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(lines, ends, fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (text, ending, cuts) => {
        // A CR and an LF of two lines would be one end.
        const endOf = (at: number) => ending[at % ending.length] ?? '';
        const mixed = text.map((line, at) =>
          line === '' && endOf(at) === '\n' && endOf(at - 1 + ending.length) === '\r'
            ? ': \n\n'
            : line + endOf(at),
        );
        const told = (whole: string, isCut: boolean) => {
          const data: string[] = [];
          const events = new EventData('events', (each) => data.push(each));
          const bytes = Buffer.from(whole);
          for (let at = 0; at < bytes.length; ) {
            const length = isCut ? cuts.next().value : bytes.length;
            events.write(bytes.subarray(at, at + length));
            at += length;
          }
          return data;
        };
        expect(told(mixed.join(''), true)).toEqual(told(text.map((line) => `${line}\n`).join(''), false));
      }),
    );
  });

  it('has the name of its event, as far as it has one', () => {
    const told: [string, string][] = [];
    const events = new EventData('events', (data, name) => told.push([data, name]));
    const text =
      'event: error\ndata: a\n\ndata: b\n\ndata:c\r\nevent:x\r\n\r\nevents: y\ndata: d\n\nevent: error\n\n\n';
    for (const byte of Buffer.from(text)) events.write(Buffer.from([byte]));
    expect(told).toEqual([
      ['a', 'error'],
      ['b', ''],
      ['c', 'x'],
      ['d', ''],
      ['', 'error'],
    ]);
  });

  it('is joined over lines, and passed over where it is too long', () => {
    const told: string[] = [];
    const events = new EventData('events', (data) => told.push(data));
    for (const byte of Buffer.from('data: a\ndata:b\r\n\r\n')) events.write(Buffer.from([byte]));
    events.write(Buffer.from(`data: ${'x'.repeat(100_000)}\n\n`));
    events.write(Buffer.from('data: after\n\ndata: unfinished'));
    events.end();
    expect(told).toEqual(['a\nb', 'after']);
  });

  it('is bounded while a line that never ends drips in', () => {
    const lines = new EventData('lines', () => expect.unreachable());
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < 200_000; index += 1) lines.write(Buffer.from('x'));
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(60e6);
  });
});
