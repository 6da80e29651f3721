import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createNullServer } from '../../../src/replay/selftest/null-server.ts';
import { syntheticSchedule } from '../../../src/replay/selftest/synthetic-schedule.ts';

/** Sends a stream in pieces of a size, and counts the answers. */
async function answersTo(bytes: Buffer, pieceBytes: number, expected: number): Promise<number> {
  const server = createNullServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setNoDelay(true);
  let answers = 0;
  const done = Promise.withResolvers<void>();
  socket.on('data', (chunk) => {
    answers += chunk.toString('latin1').split('HTTP/1.1 200').length - 1;
    if (answers >= expected) done.resolve();
  });
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (!socket.write(bytes.subarray(at, at + pieceBytes))) await once(socket, 'drain');
    await new Promise((turn) => setImmediate(turn));
  }
  await done.promise;
  socket.destroy();
  server.close();
  return answers;
}

describe('the server of a selftest', () => {
  it.each([1, 7, 64, 100_000])(
    'answers each request once, cut into pieces of %d bytes',
    async (pieceBytes) => {
      const request = (body: string) =>
        `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const bodies = ['', 'a', 'content-length: 9\r\n\r\n', 'x'.repeat(200), ''];
      const bytes = Buffer.from(bodies.map(request).join(''));
      expect(await answersTo(bytes, pieceBytes, bodies.length)).toBe(bodies.length);
    },
  );
});

describe('the schedule of a selftest', () => {
  it('has the rate that was asked for, in order, and is the same each time', () => {
    const load = { ratePerSecond: 1_000, seconds: 5, bodyBytes: 2_048 };
    const offsets = [...syntheticSchedule(load)].map(({ intendedOffsetNs }) => intendedOffsetNs);
    expect(offsets).toEqual([...syntheticSchedule(load)].map(({ intendedOffsetNs }) => intendedOffsetNs));
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
    expect(Math.abs(offsets.length - 5_000)).toBeLessThan(300);
    expect(offsets.at(-1)).toBeLessThan(5e9);
  });
});
