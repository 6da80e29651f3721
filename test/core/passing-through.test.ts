import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const PROGRAM = join(repositoryRoot, 'test/support/passing-through.ts');
const MIB = 1024 * 1024;
/** As `bin/reprise.js` starts the process that holds the sockets. */
const FORWARDING = [
  '--single-threaded-gc',
  '--no-allocation-site-pretenuring',
  '--min-semi-space-size=8',
  '--max-semi-space-size=8',
];
const SMALL = ['--single-threaded-gc', '--min-semi-space-size=1', '--max-semi-space-size=1'];
const THROUGH = ['numberMap', 'resizedNumberMap', 'linkedList', 'roster', 'recorderLink', 'sessions'];

/** Bytes that the old generation grew by while 20,000 came and went after a full collection, 32 at a time. */
async function growthBytes(through: string, collection: readonly string[] = SMALL): Promise<number> {
  const child = new RunningProcess(process.execPath, ['--expose-gc', ...collection, PROGRAM, through]);
  const { status, stdout, stderr } = await child.finished;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return Number(stdout);
}

describe('what passed through after a full collection', () => {
  it.each(THROUGH)('%s is collected with the young', async (through) => {
    expect(await growthBytes(through)).toBeLessThan(MIB);
  });

  it('is kept until the next one where what is removed leads to what came after it', async () => {
    expect(await growthBytes('uncleared')).toBeGreaterThan(5 * MIB);
  });

  it('listeners of requests are collected with the young in a forwarder, whatever sockets came before', async () => {
    expect(await growthBytes('listeners', FORWARDING)).toBeLessThan(MIB);
  });

  // It is why there are ours, and why a forwarder has a flag for the listeners; it need not stay so.
  it.for(['map', 'set', 'listeners'])(
    'what V8 has of a %s is kept until the next one',
    async (through, { skip }) => {
      const grownBytes = await growthBytes(through);
      skip(
        grownBytes <= 5 * MIB,
        `this V8 lets go of what passed through a ${through}: what is done about it is not needed`,
      );
    },
  );
});
