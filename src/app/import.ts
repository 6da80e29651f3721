import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import { choice, text, toggle } from '../core/options.ts';
import { IMPORT_DEFAULTS } from '../formats/arrival-trace.ts';
import { TIME_UNITS } from '../formats/exact-time.ts';
import {
  type ArrivalTally,
  IMPORT_BODIES,
  type ImportBodies,
  type ImportSource,
  type OpenImport,
} from '../formats/import-source.ts';
import { Redaction } from '../redaction/redaction.ts';
import type { EncryptionKey } from '../storage/capture/encryption.ts';
import { loadHashKey } from '../storage/capture/keys.ts';
import { type CaptureOrigin, noteOrigin } from '../storage/capture/schema.ts';
import { sealSegment } from '../storage/capture/sealing.ts';
import { CaptureWriter, type CommitResult } from '../storage/capture/writer.ts';
import { encryptionKeyOption } from './open-capture.ts';
import { StagedDirectory } from './staged-output.ts';

/** What imports have in common. */
const COMMON_OPTIONS = {
  out: text('--out <directory>', 'directory of the new capture; must be empty or not exist', {
    required: true,
  }),
  hashKeyFile: text('--hash-key-file <file>', 'key for the hashes, one for a fleet (default: a new key)'),
  encryptionKeyFile: encryptionKeyOption('file with the key to encrypt payloads with'),
};

export const ARRIVALS_OPTIONS = {
  ...COMMON_OPTIONS,
  time: text('--time <field>', 'column, JSON key or JSON pointer (/a/b) of the time', {
    required: true,
  }),
  unit: text(
    '--unit <unit>',
    `unit or form of the time: ${TIME_UNITS.join(', ')} (default: ${IMPORT_DEFAULTS.unit})`,
  ),
  gaps: toggle('--gaps', 'the time is the gap to the previous row'),
  origin: text('--origin <time>', `start of numeric times, ISO 8601 (default: ${IMPORT_DEFAULTS.origin})`),
  client: text('--client <field>', 'field that identifies the client; stored as a keyed hash'),
  session: text('--session <field>', 'field that identifies the session; stored as a keyed hash'),
  payloads: text(
    '--payloads <file|folder>',
    'requests to pair with: a JSONL of {method, path, headers, body | bodyBase64} or of bare bodies, ' +
      'or a folder of .http messages and of bodies (.json, .jpg, .png, .wav, .bin)',
  ),
  path: text('--path <path>', 'request path for bare bodies, such as /v1/chat/completions'),
  method: text('--method <method>', `request method for bare bodies (default: ${IMPORT_DEFAULTS.method})`),
  seed: text('--seed <n>', `random seed of the pairing (default: ${IMPORT_DEFAULTS.seed})`),
};

/** Of files that hold exchanges: whether answers are kept too. */
export const EXCHANGES_OPTIONS = {
  ...COMMON_OPTIONS,
  bodies: choice('--bodies <which>', 'which bodies to store', IMPORT_BODIES, {
    default: 'requests',
  }),
};

export const MOONCAKE_OPTIONS = {
  ...COMMON_OPTIONS,
  path: text('--path <path>', 'request path of the payloads, such as /v1/chat/completions'),
  method: text('--method <method>', `request method of the payloads (default: ${IMPORT_DEFAULTS.method})`),
  origin: text('--origin <time>', `start of timestamps, ISO 8601 (default: ${IMPORT_DEFAULTS.origin})`),
  gap: text('--gap <time>', 'gap between rows without a timestamp (default: such rows are an error)'),
};

export interface ImportRequest {
  /** What is read. */
  readonly file: string;
  /** Where the capture will be. */
  readonly out: string;
  /** Null for a key of the capture's own. */
  readonly hashKeyFile: string | null;
  /** Null leaves the payloads readable. */
  readonly encryptionKey: EncryptionKey | null;
  readonly bodies: ImportBodies;
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
  readonly missing: readonly string[];
  readonly lacking: Readonly<Record<string, number>>;
}

/**
 * Builds a capture from a file of another tool, whole or not at all.
 * @throws AppError for bad input or output, the signal's reason when it aborts; nothing is left behind then.
 */
export async function importCapture(
  request: ImportRequest,
  open: OpenImport,
  deps: ImportDeps,
): Promise<ImportResult> {
  const staged = new StagedDirectory(request.out, 'importing');
  try {
    const result = await fill(staged.path, request, open, deps);
    staged.publish();
    return result;
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}

async function fill(
  directory: string,
  request: ImportRequest,
  open: OpenImport,
  deps: ImportDeps,
): Promise<ImportResult> {
  const { encryptionKey: encryption } = request;
  const hash = new KeyedHash(loadHashKey(directory, request.hashKeyFile, encryption));
  const redaction = new Redaction();
  const source = await open({ hash, redaction, bodies: request.bodies }, deps.signal);
  const finished: string[] = [];
  const writer = new CaptureWriter(
    {
      directory,
      recorder: { id: randomBytes(4).toString('hex'), host: hostname(), startedUs: deps.clock.epochUs() },
      origin: originOf(request.file, source),
      policy: { bodies: request.bodies, redaction: redaction.additions },
      hashKeyFingerprint: hash.fingerprint(),
      encryption,
      fleetSize: null,
      account: null,
      maxDiskBytes: Number.MAX_SAFE_INTEGER,
      retainMs: null,
      segmentBy: 'arrival',
      durability: 'seal',
      onFinished: (file) => finished.push(file),
    },
    deps.clock,
  );
  try {
    for await (const exchanges of source.batches(deps.signal)) {
      for (const exchange of exchanges) {
        writer.append(exchange);
        if (writer.due(deps.clock.nowNs())) insistOn(writer.commit(), request.out);
      }
      deps.onProgress(source.tally);
    }
  } catch (thrown) {
    writer.close();
    throw thrown;
  }
  insistOn(writer.close(), request.out);
  const sealed = new SealedSegments(deps.clock);
  sealed.seal(finished, Object.keys(source.lacking).length === 0 ? null : originOf(request.file, source));
  const { tally } = source;
  if (sealed.exchanges !== tally.rows) {
    throw new AppError('INTERNAL', `${tally.rows} rows were read, ${sealed.exchanges} exchanges were kept`);
  }
  const { missing, lacking } = source;
  return { ...tally, segments: sealed.count, diskBytes: sealed.bytes, missing, lacking };
}

class SealedSegments {
  readonly #clock: Clock;
  count = 0;
  exchanges = 0;
  bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param origin what they say of themselves from now on; null leaves it */
  seal(files: readonly string[], origin: CaptureOrigin | null): void {
    for (const file of files) {
      if (origin !== null) noteOrigin(file, origin);
      const manifest = sealSegment(file, this.#clock);
      this.count += 1;
      this.exchanges += manifest.exchanges;
      this.bytes += statSync(file).size;
    }
  }
}

/** What somebody who opens the capture later must know of where its parts come from. */
function originOf(file: string, { requests, details, missing, lacking }: ImportSource): CaptureOrigin {
  return {
    kind: 'imported',
    file: basename(file),
    paired: requests,
    details: { ...details, missing, ...(Object.keys(lacking).length === 0 ? {} : { lacking }) },
  };
}

/** A recorder goes on without what it could not write; an import is whole or nothing. */
function insistOn(result: CommitResult, out: string): void {
  if (result.lost === 0) return;
  throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${result.error ?? result.reason}`, {
    hint: 'Nothing was kept. Free some space or choose another disk, then import again.',
  });
}
