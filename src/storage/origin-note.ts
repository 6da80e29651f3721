import type { CaptureOrigin } from './capture-origin.ts';
import { openForSealing } from './database.ts';
import { setMeta } from './segment-meta.ts';

/** Says anew where a finished, unsealed segment comes from: an import knows what was missing at its end only. */
export function noteOrigin(path: string, origin: CaptureOrigin): void {
  const connection = openForSealing(path);
  try {
    setMeta(connection, { origin: JSON.stringify(origin) });
  } finally {
    connection.close();
  }
}
