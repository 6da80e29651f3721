import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { BroadcastChannel } from 'node:worker_threads';
import { entryUrl } from '../../src/cli/entry-url.ts';
import { LAUNCHED_CHANNEL, LAUNCHED_MOST } from './launched.ts';

/** The pacer's own entry, with what it writes noted: the numbers of the requests, in memory that the test has too. */
const launched = new Int32Array(new SharedArrayBuffer((1 + LAUNCHED_MOST) * Int32Array.BYTES_PER_ELEMENT));
const channel = new BroadcastChannel(LAUNCHED_CHANNEL);
channel.postMessage(launched.buffer);
channel.close();

const { writeSync } = fs;
function noted(fd: number, bytes: Buffer, offset: number, length: number): number {
  const writtenBytes = writeSync(fd, bytes, offset, length);
  const [, path] = bytes.toString('latin1', offset, offset + 40).split(' ');
  // It rehearses with what is no request.
  if (path === undefined) return writtenBytes;
  launched[1 + Atomics.load(launched, 0)] = Number(path.slice(1));
  Atomics.add(launched, 0, 1);
  return writtenBytes;
}
Object.assign(fs, { writeSync: noted });
syncBuiltinESMExports();
await import(entryUrl('pacer').href);
