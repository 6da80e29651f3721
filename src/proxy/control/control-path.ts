import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '../../core/errors.ts';
import { UNIX_PATH_BYTES } from '../unix-socket.ts';

export const CONTROL_SOCKET = 'control.sock';

/**
 * Hands over a path to the control socket of a capture that is short enough for a socket address: where the
 * directory's own is not, one through an open descriptor of the directory, valid during the call.
 * @throws AppError OPTION_INVALID where this system has no such way; Error of the file system
 */
export async function withSocketPath<Result>(
  directory: string,
  act: (path: string) => Promise<Result>,
): Promise<Result> {
  const path = join(directory, CONTROL_SOCKET);
  if (Buffer.byteLength(path) <= UNIX_PATH_BYTES) return await act(path);
  if (process.platform !== 'linux') {
    throw new AppError('OPTION_INVALID', `${path} is too long for a socket`, {
      hint: `Keep the capture where its path has at most ${UNIX_PATH_BYTES - CONTROL_SOCKET.length - 1} bytes.`,
    });
  }
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await act(`/proc/self/fd/${fd}/${CONTROL_SOCKET}`);
  } finally {
    closeSync(fd);
  }
}
