/**
 * Loaded into a proxy under test. At SIGUSR2 it reads a file with the name of a method of the recording side. From then
 * on, the method throws at its first call and at every 20th after it. An unknown name ends that.
 */
import { readFileSync } from 'node:fs';
import { methodsIn, RECORDING_SIDE } from '../support/recording-side.ts';

const EVERY = 20;
const planted = { name: '', calls: 0 };

// The recorder gets the same environment.
if (!process.argv[1]?.includes('recorder')) {
  for (const { name, plant } of await methodsIn(RECORDING_SIDE)) {
    plant(() => {
      if (planted.name !== name) return;
      planted.calls += 1;
      if (planted.calls % EVERY === 1) throw new Error(`planted in ${name}`);
    });
  }
  process.on('SIGUSR2', () => {
    planted.name = readFileSync(process.env['PLANTED_FILE'] as string, 'utf8');
    planted.calls = 0;
  });
}
