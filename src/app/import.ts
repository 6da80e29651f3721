import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import {
  type Asked,
  askedFor,
  choice,
  type OptionShape,
  type ResolvedOptions,
  resolveOptions,
  text,
} from '../core/options.ts';
import { ARRIVAL_OPTIONS, openArrivals, resolveArrivalReading } from '../formats/arrival-trace.ts';
import { openGor } from '../formats/gor.ts';
import { openHar } from '../formats/har.ts';
import {
  type ArrivalTally,
  IMPORT_BODIES,
  type ImportSource,
  type OpenImport,
  type PayloadFacts,
} from '../formats/import-source.ts';
import { MOONCAKE_OPTIONS, openMooncake } from '../formats/mooncake.ts';
import { Redaction } from '../redaction/head-redaction.ts';
import { loadHashKey } from '../storage/capture/keys.ts';
import { type CaptureOrigin, noteOrigin } from '../storage/capture/schema.ts';
import { sealSegment } from '../storage/capture/sealing.ts';
import { CaptureWriter, type CommitResult } from '../storage/capture/writer.ts';
import { encryptionKeyOf, encryptionKeyOption } from './open-capture.ts';
import { StagedDirectory } from './staged-output.ts';

const COMMON_OPTIONS = {
  out: text('--out <directory>', 'directory of the new capture; must be empty or not exist', {
    required: true,
  }),
  hashKeyFile: text('--hash-key-file <file>', 'key for the hashes, one for a fleet (default: a new key)'),
  encryptionKeyFile: encryptionKeyOption('file with the key to encrypt payloads with'),
};

/** Of files that hold exchanges: whether answers are kept too. */
const EXCHANGES_OPTIONS = {
  ...COMMON_OPTIONS,
  bodies: choice('--bodies <which>', 'which bodies to store', IMPORT_BODIES, {
    default: 'requests',
  }),
};
type ImportRequest = ResolvedOptions<typeof EXCHANGES_OPTIONS>;

/** The options of each format that can be imported. */
export const IMPORT_OPTIONS = {
  arrivals: { ...COMMON_OPTIONS, ...ARRIVAL_OPTIONS },
  har: EXCHANGES_OPTIONS,
  gor: EXCHANGES_OPTIONS,
  mooncake: { ...COMMON_OPTIONS, ...MOONCAKE_OPTIONS },
};
export type ImportFormat = keyof typeof IMPORT_OPTIONS;

export interface ImportDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called some hundred times a second at most. */
  readonly onProgress: (tally: ArrivalTally) => void;
}

export interface ImportResult extends ArrivalTally {
  readonly capture: string;
  readonly segments: number;
  /** Bytes of the sealed segments. */
  readonly diskBytes: number;
  /** What the format never contains. */
  readonly missing: readonly string[];
  /** What single exchanges lack, by text. */
  readonly lacking: Readonly<Record<string, number>>;
  /** The requests that arrivals were paired with; null without any. */
  readonly payloads: PayloadFacts | null;
}

/**
 * Builds a capture from a file of another tool, whole or not at all.
 * @throws AppError for bad options, input or output, the signal's reason when it aborts; nothing is left behind then
 */
export async function importTraffic(
  format: ImportFormat,
  file: string,
  asked: Asked<OptionShape>,
  deps: ImportDeps,
): Promise<ImportResult> {
  const request = resolveOptions(EXCHANGES_OPTIONS, askedFor(EXCHANGES_OPTIONS, asked));
  const open = openerOf(format, file, asked);
  const staged = new StagedDirectory(request.out, 'importing');
  try {
    const result = await fill(staged.path, file, request, open, deps);
    staged.publish();
    return result;
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}

function openerOf(format: ImportFormat, file: string, asked: Asked<OptionShape>): OpenImport {
  switch (format) {
    case 'arrivals':
      return openArrivals(file, resolveArrivalReading(askedFor(ARRIVAL_OPTIONS, asked)));
    case 'mooncake':
      return openMooncake(file, resolveOptions(MOONCAKE_OPTIONS, askedFor(MOONCAKE_OPTIONS, asked)));
    case 'har':
      return openHar(file);
    case 'gor':
      return openGor(file);
  }
}

async function fill(
  directory: string,
  file: string,
  request: ImportRequest,
  open: OpenImport,
  deps: ImportDeps,
): Promise<ImportResult> {
  const encryption = encryptionKeyOf(request);
  const hash = new KeyedHash(loadHashKey(directory, request.hashKeyFile, encryption));
  const redaction = new Redaction();
  const source = await open({ hash, redaction, bodies: request.bodies }, deps.signal);
  const finished: string[] = [];
  const writer = new CaptureWriter(
    {
      directory,
      recorder: { id: randomBytes(4).toString('hex'), host: hostname(), startedUs: deps.clock.epochUs() },
      origin: originOf(file, source),
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
  let [exchanges, diskBytes] = [0, 0];
  for (const segment of finished) {
    // What single exchanges lack is known only now.
    if (Object.keys(source.lacking).length > 0) noteOrigin(segment, originOf(file, source));
    exchanges += sealSegment(segment, deps.clock).exchanges;
    diskBytes += statSync(segment).size;
  }
  const { tally } = source;
  if (exchanges !== tally.rows) {
    throw new AppError('INTERNAL', `${tally.rows} rows were read, ${exchanges} exchanges were kept`);
  }
  const { missing, payloads = null } = source.parts;
  return {
    ...tally,
    ...{ capture: request.out, segments: finished.length, diskBytes },
    ...{ missing, lacking: source.lacking, payloads },
  };
}

/** What somebody who opens the capture later must know of where its parts come from. */
function originOf(file: string, { parts, lacking }: ImportSource): CaptureOrigin {
  const { requests, details, missing } = parts;
  return {
    kind: 'imported',
    file: basename(file),
    paired: requests,
    details: { ...details, missing, ...(Object.keys(lacking).length === 0 ? {} : { lacking }) },
  };
}

/** A recorder goes on without what it could not write; an import is whole or nothing. */
function insistOn(result: CommitResult, out: string): void {
  if (result.lost.length === 0) return;
  throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${result.error ?? result.reason}`, {
    hint: 'Nothing was kept. Free some space or choose another disk, then import again.',
  });
}
