import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BlockRow, decodeBlock } from '../../src/storage/capture/blocks.ts';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { cipherFor, type EncryptionKey } from '../../src/storage/capture/encryption.ts';
import { readMeta } from '../../src/storage/capture/schema.ts';
import { openForReading } from '../../src/storage/capture/sqlite.ts';

/** Names of files and decompressed blocks that contain a text, including those that nothing refers to. */
export function placesOf(directory: string, text: string, key: EncryptionKey | null = null): string[] {
  const wanted = Buffer.from(text);
  const inFiles = readdirSync(directory).filter((file) =>
    readFileSync(join(directory, file)).includes(wanted),
  );
  const inBlocks = segmentsOf(directory).flatMap(({ file, path }) => {
    const connection = openForReading(path);
    try {
      const cipher = cipherFor(readMeta(connection, file).encryption, key, file);
      return connection
        .prepare<[], BlockRow>(
          'SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload FROM block',
        )
        .all()
        .filter((row) =>
          [...decodeBlock(row, file, cipher)].some((slot) => Buffer.from(slot).includes(wanted)),
        )
        .map((row) => `${file} block ${row.firstSlot}`);
    } finally {
      connection.close();
    }
  });
  return [...inFiles, ...inBlocks];
}
