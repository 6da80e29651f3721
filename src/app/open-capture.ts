import { dirname, isAbsolute, join, resolve } from 'node:path';
import { text } from '../core/options.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { parseInstantUs } from '../core/units.ts';
import { assertRecorders } from '../replay/filter.ts';
import type { CaptureOverview } from '../replay/window/capture.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { EncryptionKey } from '../storage/capture/encryption.ts';
import { type InspectDocument, inspectCapture, surveyCapture } from '../storage/capture/inspect.ts';
import { assertKeyFits } from '../storage/capture/keys.ts';
import { CaptureReader } from '../storage/capture/reader.ts';

export interface OpenedCapture {
  readonly source: CaptureSource;
  readonly overview: CaptureOverview;
  /** Equal for copies of one capture, wherever they lie. */
  readonly identity: string;
  /** Share of what was seen that is missing; null when unknown. */
  readonly unexplained: number | null;
  /** What the capture says of itself. */
  readonly inspection: InspectDocument;
  /** The same two of windows alone. */
  coverageWithin(ranges: readonly TimeRange[]): {
    readonly coverage: number | null;
    readonly unexplained: number | null;
  };
}

/**
 * Opens the capture in a directory a user named; no exchange is read. Without its key, an encrypted capture is refused
 * here, and not at its first payload during the run.
 * @param recorders whose exchanges are played; empty for all of them
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
  if (recorders.length > 0) assertRecorders(recorders, inspectCapture(directory).recorders);
  const survey = surveyCapture(directory, recorders);
  const { document } = survey;
  const keyMatters = readsPayloads || encryptionKey !== null;
  if (keyMatters && document.encrypted.segments > 0) assertKeyFits(directory, encryptionKey);
  const source = new CaptureReader(directory, { encryptionKey, recorders });
  const { origins } = document;
  return {
    source,
    identity: identityOf(document),
    inspection: document,
    unexplained: wholeOf(document.unexplained, document),
    coverageWithin: (ranges) => {
      const { coverage, unexplained } = survey.coverageWithin(ranges);
      return { coverage: knownOf(coverage, document), unexplained: knownOf(unexplained, document) };
    },
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
    },
  };
}

/** What decides draws and order: the files of the segments, which are never written anew, and what they hold. */
function identityOf({ segments, exchanges, firstArrival, lastArrival }: InspectDocument): string {
  const files = segments.map((segment) => `${segment.file} ${segment.exchanges}`).sort();
  return [exchanges, firstArrival, lastArrival, ...files].join('\n');
}

/** It is unknown how many of the recorded exchanges are in segments that were set aside. */
function knownOf(share: number | null, { damaged }: InspectDocument): number | null {
  return damaged.length > 0 ? null : share;
}

/** Nor does anybody know what a recording that was killed saw last; windows that do not reach there are not in doubt. */
function wholeOf(share: number | null, document: InspectDocument): number | null {
  return document.coverageIsAtMost ? null : knownOf(share, document);
}

function instantOf(text: string | null): number | null {
  return text === null ? null : parseInstantUs(text, 'an arrival');
}

/** `--encryption-key-file`: every command that writes or reads payloads has it. */
export function encryptionKeyOption(description: string) {
  return text('--encryption-key-file <file>', description);
}

/** The key that was named; null without one. @throws AppError OPTION_INVALID for a file that holds none. */
export function encryptionKeyOf({
  encryptionKeyFile,
}: {
  readonly encryptionKeyFile?: string | null | undefined;
}): EncryptionKey | null {
  return encryptionKeyFile == null ? null : EncryptionKey.load(encryptionKeyFile);
}

/** Folders above a run in which its capture is looked for. */
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
