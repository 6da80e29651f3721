import { Option } from 'commander';
import { EncryptionKey } from '../storage/encryption-key.ts';

export interface EncryptionFlag {
  readonly encryptionKeyFile?: string;
}

/** `--encryption-key-file`: every command that writes or reads payloads has it. */
export function encryptionKeyOption(description: string): Option {
  return new Option('--encryption-key-file <file>', description);
}

/** The key that was named; null without one. @throws AppError OPTION_INVALID for a file that holds none. */
export function encryptionKeyOf({ encryptionKeyFile }: EncryptionFlag): EncryptionKey | null {
  return encryptionKeyFile === undefined ? null : EncryptionKey.load(encryptionKeyFile);
}
