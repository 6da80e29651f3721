import type { CaptureSource } from '../core/ports.ts';
import { parseInstantUs } from '../core/units.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
import { CaptureReader } from '../storage/capture-reader.ts';
import type { EncryptionKey } from '../storage/encryption-key.ts';
import { type InspectDocument, inspectCapture } from '../storage/inspection.ts';
import { assertKeyFits } from '../storage/key-fit.ts';

/** A capture opened to be replayed. */
export interface OpenedCapture {
  readonly source: CaptureSource;
  readonly overview: CaptureOverview;
  /** Share of what was seen that neither sampling nor an omission accounts for; null when unknown. */
  readonly unexplained: number | null;
}

/**
 * Opens the capture in a directory a user named; no exchange is read. An encrypted one is refused here without
 * its key: not at its first payload, when requests are under way.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, CAPTURE_ENCRYPTED, SCHEMA_TOO_NEW
 */
export function openForReplay(named: string, encryptionKey: EncryptionKey | null): OpenedCapture {
  const directory = resolveCaptureDirectory(named, 'read');
  const document = inspectCapture(directory);
  if (document.encrypted.segments > 0) assertKeyFits(directory, encryptionKey);
  const source = new CaptureReader(directory, { encryptionKey });
  const { origins } = document;
  return {
    source,
    unexplained: knownOf(document.unexplained, document),
    overview: {
      name: directory,
      exchanges: document.exchanges,
      firstArrivalUs: instantOf(document.firstArrival),
      lastArrivalUs: instantOf(document.lastArrival),
      coverage: knownOf(document.coverage, document),
      arrivalsOnly: origins.length > 0 && origins.every((each) => each.kind === 'imported' && !each.paired),
      targets: origins.flatMap((each) => (each.kind === 'recorded' ? (each.targets ?? [each.target]) : [])),
      sessionKeys: document.sessionKeys,
      seconds: (range) => source.rollUps(range),
    },
  };
}

/** Segments that were set aside hold nobody knows how much of what was seen. */
function knownOf(share: number | null, { damaged }: InspectDocument): number | null {
  return damaged.length > 0 ? null : share;
}

function instantOf(text: string | null): number | null {
  return text === null ? null : parseInstantUs(text, 'an arrival');
}
