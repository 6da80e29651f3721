import { globSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { expect } from 'vitest';
import { type ProfileDocument, profileSchema } from '../../src/documents/profile.ts';
import { runProcess } from './process.ts';
import { repositoryRoot } from './shared-data.ts';
import { temporaryDirectory } from './temp-dir.ts';

const JOB = join(repositoryRoot, 'deploy', 'spark');
const MODULES = ['dataset_profile.py', 'traffic_cycle.py'].map((file) => join(JOB, file)).join();

/** Two threads of one process. */
const LOCAL = 'local[2]';
/** Two executors of 1 GiB, each in a separate process that gets data and code. */
export const CLUSTER = 'local-cluster[2,1,1024]';

/**
 * Submits the job of `deploy/spark` as its page describes.
 * @returns the document's path, and the processor time of all processes in microseconds for each exchange
 */
export async function profileBySpark(
  python: string,
  dataset: string,
  { zone = 'UTC', master = LOCAL } = {},
): Promise<{ path: string; document: ProfileDocument; cpuUsEach: number }> {
  const path = join(temporaryDirectory(), 'profile.json');
  const programs = dirname(python);
  const { status, stderr } = await runProcess(
    'bash',
    [
      ...['-c', 'TIMEFORMAT="cpu %U %S"; time "$@"', 'bash', join(programs, 'spark-submit')],
      ...['--master', master, '--conf', 'spark.ui.enabled=false', '--conf', 'spark.sql.shuffle.partitions=4'],
      ...['--py-files', MODULES, join(JOB, 'spark_profile.py'), dataset, '--tz', zone, '--out', path],
    ],
    {
      env: {
        PATH: `${programs}${delimiter}${process.env['PATH']}`,
        SPARK_HOME: sparkHome(programs),
        SPARK_LOCAL_IP: '127.0.0.1',
      },
    },
  );
  expect(status, stderr).toBe(0);
  const [, user, system] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(stderr) ?? [];
  const document = profileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  return { path, document, cpuUsEach: ((Number(user) + Number(system)) / document.requests) * 1e6 };
}

/**
 * A Spark home for one run, with links to the installation, because a local cluster writes worker files to its home.
 */
function sparkHome(programs: string): string {
  const home = temporaryDirectory();
  const [installed = ''] = globSync(join(programs, '../lib/python3*/site-packages/pyspark'));
  for (const name of readdirSync(installed).filter((each) => each !== 'work'))
    symlinkSync(join(installed, name), join(home, name));
  return home;
}
