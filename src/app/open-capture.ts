import { createHash } from 'node:crypto';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { type RankedWindows, type RankingOptions, rankWindows } from '../analysis/windows/rank.ts';
import { text } from '../core/options.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { parseInstantUs } from '../core/units.ts';
import type { ServerDetails } from '../documents/server-details.ts';
import { assertRecorders } from '../replay/filter.ts';
import type { CaptureOverview } from '../replay/window/capture.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { EncryptionKey } from '../storage/capture/encryption.ts';
import {
  type CoverageWithin,
  type InspectDocument,
  inspectCapture,
  surveyCapture,
} from '../storage/capture/inspect.ts';
import { assertKeyFits } from '../storage/capture/keys.ts';
import { CaptureReader } from '../storage/capture/reader.ts';

/** The load at which the hardest window is searched, whatever is replayed: it is the same one for all commands. */
export const HARDEST_MULTIPLIER = 2;

export interface OpenedCapture {
  readonly source: CaptureSource;
  readonly overview: CaptureOverview;
  /** Equal for all copies of a capture, in any directory. */
  readonly identity: string;
  /** A digest of the identity, for documents. */
  readonly digest: string;
  /** Share of the observed traffic that is missing without an explanation; null if unknown. */
  readonly unexplained: number | null;
  /** The result of `inspect`. */
  readonly inspection: InspectDocument;
  /** Ranks windows by how hard they are for a server. It reads all rows, once for equal options. */
  ranked(options: RankingOptions): RankedWindows;
  /** The coverage and the unexplained share of some windows. */
  coverageWithin(ranges: readonly TimeRange[]): CoverageWithin;
  /** What the recorded servers said of themselves in some windows. */
  serverDetailsWithin(ranges: readonly TimeRange[]): ServerDetails;
}

/**
 * Opens the capture in a directory that a user named. No exchange is read. An encrypted capture without its key is
 * refused here, not at the first payload during the run.
 * @param recorders replay only exchanges of these recorders; empty for all
 * @param readsPayloads false if payloads are not needed: then no key is required, but a given key is still checked
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, CAPTURE_ENCRYPTED, SCHEMA_TOO_NEW, OPTION_INVALID
 */
export function openForReplay(
  named: string,
  encryptionKey: EncryptionKey | null,
  recorders: readonly string[] = [],
  readsPayloads = true,
): OpenedCapture {
  const directory = resolveCaptureDirectory(named, 'read');
  if (recorders.length > 0) assertRecorders(recorders, recordersIn(directory));
  const survey = surveyCapture(directory, recorders);
  const { document } = survey;
  const keyMatters = readsPayloads || encryptionKey !== null;
  if (keyMatters && document.encrypted.segments > 0) assertKeyFits(directory, encryptionKey);
  const source = new CaptureReader(directory, { encryptionKey, recorders });
  const { origins } = document;
  const identity = identityOf(document);
  const rankings = new Map<string, RankedWindows>();
  const ranked = (options: RankingOptions) => {
    const key = JSON.stringify(options);
    const ranking =
      rankings.get(key) ??
      rankWindows(
        { rows: (range) => source.rows(range), seconds: (range) => source.rollUps(range) },
        options,
      );
    rankings.set(key, ranking);
    return ranking;
  };
  return {
    source,
    identity,
    digest: createHash('sha256').update(identity).digest('hex').slice(0, DIGEST_LENGTH),
    inspection: document,
    unexplained: wholeOf(document.unexplained, document),
    coverageWithin: survey.coverageWithin,
    serverDetailsWithin: survey.serverDetailsWithin,
    ranked,
    overview: {
      name: directory,
      exchanges: document.exchanges,
      firstArrivalUs: instantOf(document.firstArrival),
      lastArrivalUs: instantOf(document.lastArrival),
      coverage: wholeOf(document.coverage, document),
      arrivalsOnly: origins.length > 0 && origins.every((each) => each.kind === 'imported' && !each.paired),
      targets: origins.flatMap((each) => (each.kind === 'recorded' ? (each.targets ?? [each.target]) : [])),
      sessionKeys: document.sessionKeys,
      seconds: (range) => source.rollUps(range),
      hardest: (lengthS, ranges) => {
        const { order, recorded } = ranked({ ranges, lengthS, multiplier: HARDEST_MULTIPLIER });
        return recorded[order[0]!]!;
      },
    },
  };
}

/**
 * Identifies the contents, which determine random draws and order: the segments' file names and numbers of exchanges. A
 * recorder never rewrites a segment, and `forget` changes its number.
 */
function identityOf({ segments, exchanges, firstArrival, lastArrival }: InspectDocument): string {
  const files = segments.map((segment) => `${segment.file} ${segment.exchanges}`).sort();
  return [exchanges, firstArrival, lastArrival, ...files].join('\n');
}

/** Hexadecimal digits: short enough to read, long enough to distinguish all captures of a team. */
const DIGEST_LENGTH = 16;

/** Null after a killed recording: its last exchanges are unknown. */
function wholeOf(share: number | null, { coverageIsAtMost }: InspectDocument): number | null {
  return coverageIsAtMost ? null : share;
}

/** The recorders that a replay may choose from. */
function recordersIn(directory: string): { readonly id: string; readonly host: string }[] {
  return inspectCapture(directory).recorders.flatMap(({ id, host }) => (host === null ? [] : { id, host }));
}

function instantOf(text: string | null): number | null {
  return text === null ? null : parseInstantUs(text, 'an arrival');
}

/** `--encryption-key-file`, for every command that writes or reads payloads. */
export function encryptionKeyOption(description: string) {
  return text('--encryption-key-file <file>', description);
}

/** The key in the named file; null without a file. @throws AppError OPTION_INVALID if the file holds no key */
export function encryptionKeyOf({
  encryptionKeyFile,
}: {
  readonly encryptionKeyFile?: string | null | undefined;
}): EncryptionKey | null {
  return encryptionKeyFile == null ? null : EncryptionKey.load(encryptionKeyFile);
}

/** Most folders above a run in which its capture is searched. */
const MOST_FOLDERS = 8;

/**
 * Where the capture that a run names may be. The working directory of a relative name is not recorded. So the run's
 * directory and those above it are tried first, because runs are kept below it; then the current directory.
 */
export function capturePlaces(capture: string, runDirectory: string): string[] {
  if (isAbsolute(capture)) return [capture];
  const folders: string[] = [];
  for (let folder = resolve(runDirectory); folders.length < MOST_FOLDERS; folder = dirname(folder)) {
    folders.push(folder);
    if (folder === dirname(folder)) break;
  }
  const places = [...folders, process.cwd()].map((folder) => join(folder, capture));
  return [...new Set(places)];
}
