import { segmentsOf } from './capture-directory.ts';
import { cipherFor, type EncryptionKey } from './encryption-key.ts';
import { SegmentReader } from './segment-reader.ts';

/**
 * Sees to it that whatever is encrypted in a capture can be read, before anything is begun that would fail half
 * way: opens every segment, and unwraps its key.
 * @throws AppError CAPTURE_ENCRYPTED naming the first segment that needs a key, or another one.
 */
export function assertKeyFits(captureDirectory: string, key: EncryptionKey | null): void {
  for (const segment of segmentsOf(captureDirectory)) {
    const reader = SegmentReader.open(segment);
    if (reader === null) continue;
    try {
      cipherFor(reader.meta().encryption, key, segment.file);
    } finally {
      reader.close();
    }
  }
}
