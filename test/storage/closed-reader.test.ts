import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { CaptureReader } from '../../src/storage/capture-reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, responseMessage } from '../support/exchanges.ts';

/** How many descriptors of this process lead below a directory. */
function openBelow(directory: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
    } catch {
      // The descriptor of the listing itself is gone by now.
      return false;
    }
  }).length;
}

it.skipIf(!existsSync('/proc/self/fd'))(
  'an answer that is asked for after its reader was closed is read, and leaves no file open (needs /proc)',
  () => {
    // In a block of its own, which is not unpacked with that of the request.
    const answer = randomBytes(2 * LIMITS.blockBytes);
    const directory = captureOf([
      exchangeOf({ request: requestMessage(), response: responseMessage(200, answer) }),
    ]);
    const reader = new CaptureReader(directory);
    const [row] = [...reader.rows()];
    const payload = row ? reader.payload(row) : null;
    expect(openBelow(directory)).toBeGreaterThan(0);
    reader.close();
    expect(openBelow(directory)).toBe(0);
    expect(Buffer.compare(payload?.response?.body.kept ?? Buffer.alloc(0), answer)).toBe(0);
    expect(openBelow(directory)).toBe(0);
  },
);
