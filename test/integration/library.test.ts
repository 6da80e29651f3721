import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { doctor, forget, importCapture, inspect, selftest } from '../../src/index.ts';
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
