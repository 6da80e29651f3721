import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { createNullServer } from '../../src/replay/engine/rehearsal.ts';
import { RateLadder, syntheticSchedule } from '../../src/replay/selftest.ts';

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
    const load = { protocol: 'http1', ratePerSecond: 1_000, seconds: 5, bodyBytes: 2_048 } as const;
    const offsets = [...syntheticSchedule(load)].map(({ intendedOffsetNs }) => intendedOffsetNs);
    expect(offsets).toEqual([...syntheticSchedule(load)].map(({ intendedOffsetNs }) => intendedOffsetNs));
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
    expect(Math.abs(offsets.length - 5_000)).toBeLessThan(300);
    expect(offsets.at(-1)).toBeLessThan(5e9);
  });
});

/** Climbs to the end on a machine that keeps rates up to `limit`. */
function climb(limit: number, spoiled: readonly number[] = []) {
  const ladder = new RateLadder();
  const tried: number[] = [];
  for (let rate = ladder.next; rate !== null; rate = ladder.next) {
    tried.push(rate);
    ladder.tell(rate <= limit && !spoiled.includes(tried.length));
    if (tried.length > 50) throw new Error('the ladder has no end');
  }
  return { tried, highest: ladder.highestKept, isOpen: ladder.isOpen };
}

describe('the ladder of rates', () => {
  it.each([200, 999, 5_000, 12_345, 60_000])('comes within a fifth of a limit of %d, from below', (limit) => {
    const { highest, tried } = climb(limit);
    expect(highest).toBeLessThanOrEqual(limit);
    expect(highest).toBeGreaterThan(limit / 1.25);
    expect(tried.length).toBeLessThan(15);
  });

  it('tries a rate again before it gives it up', () => {
    expect(climb(5_000, [2]).highest).toBe(climb(5_000).highest);
    expect(climb(5_000, [2]).tried.slice(0, 3)).toEqual([125, 500, 500]);
  });

  it('ends at once where not even the first rate is kept', () => {
    expect(climb(10)).toEqual({ tried: [125, 125], highest: null, isOpen: false });
  });

  it('says which rate is the lowest that was given up, and not one that was missed once', () => {
    const ladder = new RateLadder();
    for (const kept of [true, false]) ladder.tell(kept);
    expect(ladder).toMatchObject({ highestKept: 125, lowestMissed: null });
    for (const kept of [false, true, false, false]) ladder.tell(kept);
    expect(ladder).toMatchObject({ highestKept: 250, lowestMissed: 350 });
  });

  it('says when the highest rate that is tried was kept', () => {
    expect(climb(1e9)).toMatchObject({ highest: 128_000, isOpen: true });
  });
});
