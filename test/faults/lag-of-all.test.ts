import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { left } from '../alone/hostile-targets.ts';
import { captureOf } from '../support/captures.ts';
import { startReprise } from '../support/process.ts';
import { documentOf, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 240;
const STOPPED_MS = 700;

/** The nearest rank. */
const percentile = (sorted: readonly number[], percent: number) =>
  sorted[Math.ceil((percent / 100) * sorted.length) - 1] ?? Number.NaN;

it('percentiles of lag are of everything that was sent: late, failed, cancelled and refused by the target', async () => {
  // One in four is cut off, one in four is cancelled as recorded, one in four is turned away.
  const server = await serverOf((request, response) => {
    const kind = Number(/n=(\d+)/.exec(request.target)?.[1]) % 4;
    if (kind === 0) response.destroy();
    else if (kind === 2) {
      response.statusCode = 429;
      response.end();
    } else if (kind === 3) response.end('{}');
  });
  const recorded = requestsOf(COUNT, 8_000).map((each, at) =>
    at % 4 === 1 ? { ...each, ...left(50) } : each,
  );
  const out = `${temporaryDirectory()}/run`;
  const run = startReprise([
    ...['replay', captureOf(recorded), '--target', server.url, '--json', '--out', out],
  ]);
  while (server.requests.length < COUNT / 4 && run.child.exitCode === null) await pause(2);
  run.child.kill('SIGSTOP');
  await pause(STOPPED_MS);
  run.child.kill('SIGCONT');
  const { lagUs, sent, statuses, cancelled, failed } = documentOf(await run.finished);

  const reader = new RunReader(out);
  // A request has left when its first write had returned.
  const lags = [...reader.sends()]
    .flatMap(({ actualOffsetNs, intendedOffsetNs, writeNs }) =>
      actualOffsetNs === null
        ? []
        : [(Math.max(0, actualOffsetNs - intendedOffsetNs) + (writeNs ?? 0)) / 1e3],
    )
    .sort((a, b) => a - b);
  reader.close();
  expect(lags).toHaveLength(COUNT);
  expect({ sent, turnedAway: statuses['429'] }).toEqual({ sent: COUNT, turnedAway: COUNT / 4 });
  expect(Math.min(cancelled, failed)).toBeGreaterThan(0);
  // Those that were due while we stood still are a third of all.
  expect(lags.at(-1)).toBeGreaterThan((STOPPED_MS / 2) * 1e3);
  for (const [percent, told] of [
    [50, lagUs.p50],
    [90, lagUs.p90],
    [99, lagUs.p99],
    [100, lagUs.max],
  ] as const) {
    const truth = percentile(lags, percent);
    expect(told).toBeGreaterThanOrEqual(truth - 1e-3);
    expect(told).toBeLessThanOrEqual(truth * (1 + 1 / 1_000) + 1e-3);
  }
});
