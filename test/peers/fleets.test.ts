import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type ProfileDocument, profileSchema } from '../../src/documents/profile.ts';
import { runCommand } from '../support/command-here.ts';
import { exported } from '../support/export-scene.ts';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { profiledCapture } from '../support/profiled-capture.ts';
import { expectSameProfile, profileOf } from '../support/same-profile.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { fleetCapture } from './fleet-capture.ts';
import { captureOfTrace, PUBLIC_TRACES, present } from './public-traces.ts';

const duckdb = pythonWith(['duckdb==2.0.1']);
const program = join(repositoryRoot, 'deploy', 'spark', 'duckdb_profile.py');

async function profileByDuckdb(python: string, dataset: string, zone = 'UTC'): Promise<string> {
  const out = join(temporaryDirectory(), 'profile.json');
  const { status, said } = await runPeer(python, [program, dataset, '--tz', zone, '--out', out]);
  expect(status, said).toBe(0);
  return out;
}

const read = (path: string): ProfileDocument => profileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));

for (const trace of PUBLIC_TRACES)
  needing(present(trace, duckdb), `DuckDB profiles ${trace.name} as reprise profile does`, async (python) => {
    const capture = await captureOfTrace(trace);
    const { out } = await exported('parquet', capture, '--partition');
    const made = read(await profileByDuckdb(python, out));
    expect(made.requests).toBe(trace.exchanges);
    expectSameProfile(made, await profileOf(capture));
  });

needing(duckdb, 'DuckDB profiles whatever two recorders saw, in any time zone', async (python) => {
  const capture = fleetCapture(3_000);
  const { out } = await exported('parquet', capture, '--partition');
  const made = read(await profileByDuckdb(python, out, 'Asia/Kolkata'));
  expect(made.retries.likely).toBeGreaterThan(0);
  expect(made.concurrency.max).toBeGreaterThan(10);
  expectSameProfile(made, await profileOf(capture, '--tz', 'Asia/Kolkata'));
});

needing(
  duckdb,
  'a document of DuckDB is rendered, and compare finds how traffic has shifted',
  async (python) => {
    const capture = profiledCapture(0.4);
    const { out } = await exported('parquet', capture, '--partition');
    const path = await profileByDuckdb(python, out);
    const ours = await profileOf(capture);
    expect(ours.cycle.unusual.days.length).toBeGreaterThan(0);
    expectSameProfile(read(path), ours);
    const shown = await runCommand(['profile', '--document', path, '--json']);
    expect(JSON.parse(shown.stdout)).toEqual(read(path));
    expect(await runCommand(['compare', path, capture])).toMatchObject({ status: 0 });
    const busier = await profileByDuckdb(
      python,
      (await exported('parquet', fleetCapture(1_000), '--partition')).out,
    );
    expect(await runCommand(['compare', path, busier])).toMatchObject({ status: 3 });
  },
);

needing(duckdb, 'datasets of recorders are merged by copying them into one directory', async (python) => {
  const capture = fleetCapture(300);
  const merged = join(temporaryDirectory(), 'dataset');
  for (const recorder of ['0123', 'ab12']) {
    const { out } = await exported('parquet', capture, '--partition', '--filter', `recorder=${recorder}`);
    cpSync(out, merged, { recursive: true });
  }
  const [made, ours] = [read(await profileByDuckdb(python, merged)), await profileOf(capture)];
  expectSameProfile(
    { ...made, filters: [], coverage: null, coverageUnexplained: null, notes: [] },
    { ...ours, filters: [], coverage: null, coverageUnexplained: null, notes: [] },
  );
});
