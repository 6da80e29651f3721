import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { sharedData } from '../support/shared-data.ts';

/** Two weeks of requests to a production service, 1,951,861 of them, as gaps in milliseconds. */
export const servegenFile = 'alibaba-servegen/m-large-derived-arrivals.csv.gz';
/** Null if the large data sets are missing. */
export const servegenPath = sharedData(servegenFile);

const ORIGIN = '2025-01-01T00:00:00Z';
/** Flags of its import. */
export const servegenFlags = [
  '--time=dt_ms',
  '--gaps',
  '--unit=ms',
  '--client-field=client',
  `--origin=${ORIGIN}`,
];

/** Its arrivals in epoch microseconds, read without the importer's code. */
export function servegenArrivalsUs(path: string): number[] {
  const [, ...rows] = gunzipSync(readFileSync(path)).toString('latin1').trimEnd().split('\n');
  let atMs = Date.parse(ORIGIN);
  return rows.map((row) => {
    atMs += Number(row.slice(0, row.indexOf(',')));
    return atMs * 1000;
  });
}
