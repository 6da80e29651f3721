import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Exchange } from '../../src/core/exchange.ts';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { byProgram, type StatedOptions } from '../../src/core/options.ts';
import { SeededRandom } from '../../src/core/random.ts';
import {
  ARRIVAL_OPTIONS,
  type ArrivalReading,
  arrivalSource,
  resolveArrivalReading,
} from '../../src/formats/arrival-trace.ts';
import type { ArrivalTally, ImportSource, OpenImport } from '../../src/formats/import-source.ts';
import { type BodyRequest, loadPayloads, type PayloadPool } from '../../src/formats/payloads.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A signal that nobody aborts. */
export const never: AbortController['signal'] = new AbortController().signal;

/** A fixed key, so that hashes can be computed by hand. */
export const key = Buffer.alloc(32, 7);
export const hash = new KeyedHash(key);

const deps = { hash, redaction: new Redaction(), bodies: 'requests' } as const;

export function hmac(text: string, bytes: number): Buffer {
  return createHmac('sha256', key).update(text).digest().subarray(0, bytes);
}

/** Writes a trace into a fresh directory and returns its path. */
export function traceFile(content: string | Buffer, name = 'trace.csv'): string {
  const path = join(temporaryDirectory(), name);
  writeFileSync(path, name.endsWith('.gz') ? gzipSync(content) : content);
  return path;
}

export type ArrivalFlags = StatedOptions<typeof ARRIVAL_OPTIONS>;

export function readingOf(flags: ArrivalFlags): ArrivalReading {
  return resolveArrivalReading(byProgram(ARRIVAL_OPTIONS, flags));
}

/** Everything an import makes of a trace. */
export async function imported(
  path: string,
  flags: ArrivalFlags,
  payloads: PayloadPool | null = null,
): Promise<{ exchanges: Exchange[]; arrivals: number[]; tally: ArrivalTally }> {
  const trace = arrivalSource(path, readingOf(flags), deps, payloads);
  const exchanges: Exchange[] = [];
  for await (const batch of trace.batches(never)) exchanges.push(...batch);
  return { exchanges, arrivals: exchanges.map((exchange) => exchange.arrivalUs), tally: trace.tally };
}

/** Reads a payload file or folder whose bare bodies, if it has any, go to `fallback`. */
export function load(
  path: string,
  fallback: BodyRequest = { method: 'POST', path: null },
  seed = 1,
): Promise<PayloadPool> {
  const deps = { hash, redaction: new Redaction(), random: new SeededRandom(seed) };
  return loadPayloads(path, fallback, deps, never);
}

export function latin1(bytes: Uint8Array | null): string {
  return Buffer.from(bytes ?? []).toString('latin1');
}

/** What spreadsheets put in front of a text. */
export const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** All that an import of recorded requests makes of a file. */
export async function readImport(open: OpenImport): Promise<{ exchanges: Exchange[]; source: ImportSource }> {
  const source = await open({ hash, redaction: new Redaction(), bodies: 'all' }, never);
  const exchanges: Exchange[] = [];
  for await (const batch of source.batches(never)) exchanges.push(...batch);
  return { exchanges, source };
}
