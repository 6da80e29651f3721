import { connect } from 'node:net';
import { LIMITS } from '../core/limits.ts';

/** A longer path does not fit into the kernel's address of a socket (108 bytes with its end, on some systems 104). */
export const UNIX_PATH_BYTES = LIMITS.socketPathBytes;

/** Whether somebody listens at the path of a socket. One that is full or may not be entered has a process too. */
export function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
