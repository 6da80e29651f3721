import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import { SeededRandom } from '../core/random.ts';
import { Redaction } from '../core/redaction.ts';
import { ArrivalImport, type ArrivalTally, MISSING_FROM_IMPORTS } from '../formats/arrivals.ts';
import type { ImportOptions } from '../formats/import-options.ts';
import { loadPayloads, type PayloadPool } from '../formats/payload-pool.ts';
import { CaptureWriter, type CommitResult } from '../storage/capture-writer.ts';
import type { EncryptionKey } from '../storage/encryption-key.ts';
import { loadHashKey } from '../storage/hash-key.ts';
import { sealSegment } from '../storage/sealing.ts';
import { StagedDirectory } from './staged-directory.ts';

export interface ImportRequest {
  /** The trace. */
  readonly file: string;
  /** Where the capture will be. */
  readonly out: string;
  /** Null for a key of the capture's own. */
  readonly hashKeyFile: string | null;
  /** Null leaves the payloads readable. */
  readonly encryptionKey: EncryptionKey | null;
  readonly options: ImportOptions;
}

export interface ImportDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called some hundred times a second at most. */
  readonly onProgress: (tally: ArrivalTally) => void;
}

export interface ImportResult extends ArrivalTally {
  readonly segments: number;
  /** Bytes of the sealed segments. */
  readonly diskBytes: number;
  /** Null when arrivals were imported without payloads. */
  readonly payloads: PayloadPool | null;
}

/**
 * Builds a capture from a trace, whole or not at all.
 * @throws AppError for bad input or output, the signal's reason when it aborts; nothing is left behind then.
 */
export async function importArrivals(request: ImportRequest, deps: ImportDeps): Promise<ImportResult> {
  const staged = new StagedDirectory(request.out, 'importing');
  try {
    const result = await fill(staged.path, request, deps);
    staged.publish();
    return result;
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}

async function fill(directory: string, request: ImportRequest, deps: ImportDeps): Promise<ImportResult> {
  const hash = new KeyedHash(loadHashKey(directory, request.hashKeyFile));
  const redaction = new Redaction();
  const { options } = request;
  const payloads = await readPayloads(options, hash, redaction, deps.signal);
  const trace = new ArrivalImport(
    { path: request.file, fields: options.fields, time: options.time },
    { hash, payloads },
  );
  const finished: string[] = [];
  const writer = new CaptureWriter(
    {
      directory,
      recorder: { id: randomBytes(4).toString('hex'), host: hostname(), startedUs: deps.clock.epochUs() },
      origin: {
        kind: 'imported',
        file: basename(request.file),
        paired: payloads !== null,
        details: detailsOf(options, payloads),
      },
      policy: { bodies: 'requests', redaction: redaction.additions },
      hashKeyFingerprint: hash.fingerprint(),
      encryption: request.encryptionKey,
      fleetSize: null,
      maxDiskBytes: Number.MAX_SAFE_INTEGER,
      retainMs: null,
      segmentBy: 'arrival',
      durability: 'seal',
      breathe: () => undefined,
      onFinished: (file) => finished.push(file),
    },
    deps.clock,
  );
  const sealed = new SealedSegments(deps.clock);
  try {
    for await (const exchanges of trace.batches(deps.signal)) {
      for (const exchange of exchanges) {
        writer.append(exchange);
        if (writer.due(deps.clock.nowNs())) insistOn(writer.commit(), request.out);
      }
      sealed.seal(finished.splice(0));
      deps.onProgress(trace.tally);
    }
  } catch (thrown) {
    writer.close();
    throw thrown;
  }
  insistOn(writer.close(), request.out);
  sealed.seal(finished);
  const { tally } = trace;
  if (sealed.exchanges !== tally.rows) {
    throw new AppError('INTERNAL', `${tally.rows} rows were read, ${sealed.exchanges} exchanges were kept`);
  }
  return { ...tally, segments: sealed.count, diskBytes: sealed.bytes, payloads };
}

class SealedSegments {
  readonly #clock: Clock;
  count = 0;
  exchanges = 0;
  bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  seal(files: readonly string[]): void {
    for (const file of files) {
      const manifest = sealSegment(file, this.#clock);
      this.count += 1;
      this.exchanges += manifest.exchanges;
      this.bytes += statSync(file).size;
    }
  }
}

async function readPayloads(
  options: ImportOptions,
  hash: KeyedHash,
  redaction: Redaction,
  signal: AbortSignal,
): Promise<PayloadPool | null> {
  if (options.payloads === null) return null;
  const random = new SeededRandom(options.payloads.seed);
  const { source } = options.payloads;
  return await loadPayloads(source, options.payloads, { hash, redaction, random }, signal);
}

/** What somebody who opens the capture later must know of where its parts come from. */
function detailsOf(options: ImportOptions, payloads: PayloadPool | null): Readonly<Record<string, unknown>> {
  const missing: string[] = [...MISSING_FROM_IMPORTS];
  if (payloads === null) missing.unshift('requests');
  return {
    time: { field: options.fields.time, ...options.time },
    client: options.fields.client,
    session: options.fields.session,
    payloads: options.payloads && {
      source: basename(options.payloads.source),
      requests: payloads?.size,
      seed: options.payloads.seed,
    },
    missing,
  };
}

/** A recorder goes on without what it could not write; an import is whole or nothing. */
function insistOn(result: CommitResult, out: string): void {
  if (result.lost === 0) return;
  throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${result.error ?? result.reason}`, {
    hint: 'Nothing was kept. Make room or name another disk, then import again.',
  });
}
