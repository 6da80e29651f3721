import { text } from '../core/options.ts';
import { EncryptionKey } from '../storage/encryption-key.ts';

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
