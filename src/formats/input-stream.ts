import { closeSync, constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { isatty, ReadStream } from 'node:tty';

/**
 * What stands at a path, as a stream that ends when the signal aborts. Pipes and terminals are waited for and not
 * read in a thread: a read that waits there lets neither a signal nor the process itself end.
 */
export async function inputStream(path: string, signal: AbortSignal): Promise<Readable> {
  // What cannot be looked at cannot be read either, and reading says why.
  const found = await stat(path).catch(() => null);
  if (found?.isFIFO()) return new Socket({ fd: openedAtOnce(path), readable: true, writable: false, signal });
  if (found?.isCharacterDevice()) {
    const descriptor = openedAtOnce(path);
    if (isatty(descriptor)) return new ReadStream(descriptor, { signal });
    closeSync(descriptor);
  }
  return createReadStream(path, { signal, highWaterMark: 256 * 1024 });
}

/** A named pipe has no writer yet: it is not waited for here. */
function openedAtOnce(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
}
