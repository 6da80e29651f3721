import { expect } from 'vitest';
import { runCommand } from '../support/command-here.ts';
import { exported } from '../support/export-scene.ts';
import { repeated } from '../support/long-form.ts';
import { needing } from '../support/peer-run.ts';
import { pythonWith, systemProgram } from '../support/peer-tools.ts';
import { expectSameProfile, profileOf } from '../support/same-profile.ts';
import { profileBySpark } from '../support/spark.ts';
import { fleetCapture } from './fleet-capture.ts';
import { captureOfTrace, PUBLIC_TRACES, present } from './public-traces.ts';

const java = systemProgram('java');
const spark = 'missing' in java ? java : pythonWith(['pyspark==4.3.0']);

needing(
  spark,
  'Spark 4.3.0 profiles two recorders as reprise profile does, and the page shows it',
  async (python) => {
    const capture = fleetCapture(2_000);
    const { out } = await exported('parquet', capture, '--partition');
    const { path, document } = await profileBySpark(python, out, { zone: 'Asia/Kolkata' });
    expectSameProfile(document, await profileOf(capture, '--tz', 'Asia/Kolkata'));
    expect(await runCommand(['profile', '--document', path])).toMatchObject({ status: 0 });
  },
);

// In CI the DuckDB program has them. The scale suite has two weeks by Spark in its long form.
for (const trace of repeated([], PUBLIC_TRACES))
  needing(present(trace, spark), `Spark profiles ${trace.name} as reprise profile does`, async (python) => {
    const capture = await captureOfTrace(trace);
    const { out } = await exported('parquet', capture, '--partition');
    const { document } = await profileBySpark(python, out);
    expect(document.requests).toBe(trace.exchanges);
    expectSameProfile(document, await profileOf(capture));
  });
