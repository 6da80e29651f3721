import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { capacity, doctor, forget, importCapture, inspect, replay, selftest } from '../../src/index.ts';
import { captureOf } from '../support/captures.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('the library imports a trace, looks into it and forgets a part of it', async () => {
  const folder = temporaryDirectory();
  const [file, out] = [join(folder, 'trace.csv'), join(folder, 'capture')];
  writeFileSync(file, 't\n2026-11-20T10:00:00Z\n2026-11-20T11:00:00Z\n');
  expect(await importCapture('arrivals', file, { time: 't', out })).toMatchObject({ rows: 2, capture: out });
  expect(inspect([out]).exchanges).toBe(2);
  expect(await forget(out, { before: '2026-11-20T10:30:00Z' })).not.toBeNull();
  expect(inspect([out]).exchanges).toBe(1);
  await expect(importCapture('arrivals', file, { time: 't', out })).rejects.toMatchObject({
    code: 'OUTPUT_EXISTS',
  });
});

test('the library says what of the host is in the way of a recording', async () => {
  const findings = await doctor({ dir: temporaryDirectory() });
  expect(findings.map(({ check }) => check)).toContain('disk');
});

test('the library tries the rates of a selftest until it is told to stop', async () => {
  const stop = new AbortController();
  stop.abort();
  const tested = await selftest({ seconds: 1 }, { signal: stop.signal });
  expect(tested).toMatchObject({ kind: 'selftest', steps: [], endedBy: 'interrupted', secondsPerStep: 1 });
  await expect(selftest({ seconds: 61 })).rejects.toMatchObject({ code: 'OPTION_INVALID' });
});

test('the library sent a replay and a search that were to be dry runs', async () => {
  const server = await serverOf();
  const capture = captureOf(requestsOf(200, 10_000));
  const out = join(temporaryDirectory(), 'out');
  const asked = { target: server.url, dryRun: true, out, slo: ['latency: p(90)<500'] } as const;
  const planned = await replay(capture, asked);
  expect(planned).toMatchObject({ directory: null, document: { kind: 'replay_plan', planned: 200 } });
  expect(await capacity(capture, { ...asked, multiplier: 6 })).toMatchObject({
    kind: 'capacity_plan',
    objectives: [
      { expression: 'latency: p(90)<500', origin: 'stated' },
      { origin: 'default' },
      { origin: 'recording' },
    ],
    multipliers: [1, 2, 4, 6],
  });
  expect(await replay(capture, { dryRun: true })).toMatchObject({ document: { target: null, planned: 200 } });
  expect(server.requests).toHaveLength(0);
  expect(existsSync(out)).toBe(false);
});
