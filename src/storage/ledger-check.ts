import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../core/errors.ts';
import { CELL_BYTES, decodeCell, LEDGER_FILE } from '../core/ledger-cell.ts';
import { isMissing } from './durable-files.ts';

/** What is wrong with the ledger of a capture that was recorded: null when there is none, or an account in it. */
export function ledgerProblem(captureDirectory: string): string | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(captureDirectory, LEDGER_FILE));
  } catch (error) {
    return isMissing(error) ? null : reasonOf(error);
  }
  for (let place = 0; place < bytes.byteLength; place += CELL_BYTES) {
    if (decodeCell(bytes.subarray(place, place + CELL_BYTES)) !== null) return null;
  }
  return 'no account is left in it: of a recording that was killed, what it had on its way is not known';
}
