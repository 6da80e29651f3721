import { randomBytes } from 'node:crypto';
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { AppError, reasonOf } from '../core/errors.ts';
import { discard } from './discard.ts';

/**
 * A file is there whole or not at all; one of that name is replaced, as a report of a pipeline is each night.
 * @throws AppError OUTPUT_UNWRITABLE
 */
export function writeWhole(path: string, text: string): void {
  const building = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) throw new Error('something that is no file lies there');
    writeFileSync(building, text, { flag: 'wx' });
    renameSync(building, path);
  } catch (cause) {
    discard(building);
    throw new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
      hint: 'The directory it lies in must exist and be writable for this user.',
      cause,
    });
  }
}
