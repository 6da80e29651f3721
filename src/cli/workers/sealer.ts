/**
 * The sealer: a short-lived process that settles the segments named on its command line. One line of JSON for
 * each on stdout; exit 1 when any was damaged or could not be settled.
 */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import { settleSegment } from '../../storage/sealing.ts';

// Meant for others, as in all of a recording's processes.
process.on('SIGUSR2', () => undefined);

for (const path of process.argv.slice(2)) {
  const line = settle(path);
  process.stdout.write(`${JSON.stringify(line)}\n`);
  if ('error' in line || line.outcome === 'damaged') process.exitCode = 1;
}

function settle(path: string) {
  // Retention took it, or an earlier sealer removed it because it was empty.
  if (!existsSync(path)) return { file: basename(path), outcome: 'gone', exchanges: 0, problem: null };
  try {
    const { file, outcome, manifest, problem } = settleSegment(path, systemClock);
    return { file, outcome, exchanges: manifest?.exchanges ?? 0, problem };
  } catch (error) {
    return { file: path, error: reasonOf(error) };
  }
}
