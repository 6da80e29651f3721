import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import { missing } from '../support/shared-data.ts';
import {
  expectEarly,
  rankedIn,
  TRUE_CASES,
  TRUE_SERVERS,
  type TracedRequest,
  trafficOf,
  truthOf,
} from '../support/true-windows.ts';
import { eightWeeks, HOLE, INCIDENT, MONTH_LIMIT_S } from './eight-weeks.ts';
import { servegenFile, servegenPath } from './servegen-trace.ts';

const QUARTER_S = 900;

function* servegenRequests(path: string): Generator<TracedRequest> {
  const [, ...lines] = gunzipSync(readFileSync(path)).toString('latin1').trimEnd().split('\n');
  for (const line of lines) {
    const [gap, , prompt, output] = line.split(',').map(Number) as [number, number, number, number];
    yield { gapMs: gap, prompt, output };
  }
}

describe('the hardest of 1,344 windows of a production trace', () => {
  beforeEach(({ skip }) => {
    skip(servegenPath === null, missing(servegenFile));
  });

  test.each(TRUE_CASES)('breaks early, if a server needs time for $of, $latencies', ({ of, latencies }) => {
    const server = TRUE_SERVERS[of]!;
    const traffic = trafficOf(servegenRequests(servegenPath ?? ''), server, latencies);
    const windows = rankedIn(traffic, QUARTER_S);
    expect(windows.starts).toHaveLength(1_344);
    const truth = truthOf(traffic, windows, QUARTER_S, server.limitS);
    console.log(`${of}, ${latencies}: ${JSON.stringify(truth)}`);
    expectEarly(truth);
  });
});

describe('the hardest window of eight weeks', () => {
  test.each([1, 2, 3])('breaks early: seed %i', (seed) => {
    const traffic = eightWeeks(seed);
    const windows = rankedIn(traffic, QUARTER_S);
    const truth = truthOf(traffic, windows, QUARTER_S, MONTH_LIMIT_S);
    console.log(`eight weeks, seed ${seed}: ${JSON.stringify(truth)}`);
    expectEarly(truth);
    const hardestUs = windows.starts[windows.order[0]!]!;
    expect(hardestUs < INCIDENT.fromUs || hardestUs >= INCIDENT.toUs).toBe(true);
    expect(windows.silence?.fromUs).toBeLessThanOrEqual(HOLE.fromUs);
    expect(windows.silence?.toUs).toBeGreaterThanOrEqual(HOLE.toUs);
  });
});
