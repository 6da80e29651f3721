import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CountingServerReport } from '../../bench/support/counting-server.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { measureReprise } from '../support/measured-run.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const BODY_BYTES = 5 * 1024 * 1024;
const REQUESTS = 500;
/** A hundred a second. */
const GAP_US = 10_000;
const RESIDENT_BYTES = 600e6;

let target: ChildProcess;
let port: number;

beforeAll(async () => {
  target = fork(new URL('../../bench/support/counting-server.ts', import.meta.url));
  [port] = (await once(target, 'message')) as [number];
});

afterAll(() => {
  target.kill();
});

test('bodies of 5 MiB, a hundred a second, arrive whole and are held under 600 MB', async () => {
  const bodies = Array.from({ length: 7 }, (_, at) => Buffer.alloc(BODY_BYTES, `picture ${at} `));
  const exchanges = Array.from({ length: REQUESTS }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * GAP_US,
      request: requestMessage({ target: `/${at}`, body: bodies[at % bodies.length] ?? '' }),
    }),
  );
  const replayed = await measureReprise([
    ...['replay', captureOf(exchanges), '--target', `http://127.0.0.1:${port}`, '--json'],
    ...['--out', join(temporaryDirectory(), 'run')],
  ]);
  const { sent, completed, refused } = JSON.parse(replayed.stdout) as ReplayDocument;
  // A target that cannot take half a gigabyte a second is no fault of ours; what is not sent is refused and told.
  expect(sent + refused).toBe(REQUESTS);
  expect(completed).toBe(sent);
  expect(sent).toBeGreaterThan(REQUESTS / 2);
  target.send('report');
  const [report] = (await once(target, 'message')) as [CountingServerReport];
  expect(report).toMatchObject({ requests: sent, bodyBytes: sent * BODY_BYTES });
  expect(replayed.peakResidentBytes).toBeGreaterThan(0);
  expect(replayed.peakResidentBytes).toBeLessThan(RESIDENT_BYTES);
});
