import { type CopiedCapture, copyCapture } from '../storage/capture/copy.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { StagedDirectory, writingTo } from './staged-output.ts';

/** The result of `export capture`. */
export interface ExportedCapture extends CopiedCapture {
  readonly schemaVersion: 1;
  readonly kind: 'export';
  readonly format: 'capture';
  readonly out: string;
  readonly captures: readonly string[];
}

/**
 * Copies captures into one new capture, also while they are recorded: sealed segments, what is committed of open ones,
 * and the accounts. The copy is complete or absent.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, OUTPUT_EXISTS or OUTPUT_UNWRITABLE; the signal's reason if it
 *   aborts
 */
export async function exportCapture(
  directories: readonly string[],
  out: string,
  { signal, onSegment }: { readonly signal: AbortSignal; readonly onSegment: (file: string) => void },
): Promise<ExportedCapture> {
  const captures = directories.map((directory) => resolveCaptureDirectory(directory, 'read'));
  const staged = new StagedDirectory(out, 'copying');
  try {
    const copied: CopiedCapture[] = [];
    for (const capture of captures) {
      const visit = (file: string) => {
        signal.throwIfAborted();
        onSegment(file);
      };
      copied.push(writingTo(out, () => copyCapture(capture, staged.path, visit)));
      // Signals are heard between two captures.
      await new Promise(setImmediate);
    }
    staged.publish();
    const sum = (of: keyof CopiedCapture) => copied.reduce((total, each) => total + each[of], 0);
    return {
      schemaVersion: 1,
      kind: 'export',
      format: 'capture',
      out,
      captures,
      segments: sum('segments'),
      open: sum('open'),
      duplicates: sum('duplicates'),
      bytes: sum('bytes'),
    };
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}
