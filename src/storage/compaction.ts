import { LIMITS } from '../core/limits.ts';
import { type BlockRow, repackBlock } from './block.ts';
import { type Connection, sqliteCode } from './database.ts';

const SMALL_PAGE_BYTES = 512;

const SELECT_NEXT = `SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload
FROM block WHERE first_slot > ? ORDER BY first_slot LIMIT 1`;

/**
 * Rewrites a small segment with small pages and packs its blocks harder. Every table takes at least a page, and
 * a page of 8 KiB each makes 160 KiB of an hour with ten requests; for weeks of quiet hours that is most of what
 * they would take. A large segment stays as it is: its size is its payload's, and rewriting it would cost.
 */
export function compactSmall(connection: Connection, file: string): void {
  const pages = Number(connection.pragma('page_count', { simple: true }));
  const pageBytes = Number(connection.pragma('page_size', { simple: true }));
  // One that has small pages was compacted before a crash came between that and its manifest.
  if (pageBytes === SMALL_PAGE_BYTES || pages * pageBytes > LIMITS.compactedSegmentBytes) return;
  try {
    connection.transaction(() => repackBlocks(connection, file))();
    connection.pragma(`page_size = ${SMALL_PAGE_BYTES}`);
    connection.exec('VACUUM');
  } catch (error) {
    // No room for the copy: it stays as large as it is.
    if (!sqliteCode(error)?.startsWith('SQLITE_FULL')) throw error;
  }
}

function repackBlocks(connection: Connection, file: string): void {
  const next = connection.prepare<[number], BlockRow>(SELECT_NEXT);
  const update = connection.prepare<[Uint8Array, number, number]>(
    'UPDATE block SET payload = ?, crc32 = ? WHERE first_slot = ?',
  );
  for (let row = next.get(Number.MIN_SAFE_INTEGER); row !== undefined; row = next.get(row.firstSlot)) {
    const packed = repackBlock(row, file);
    if (packed !== null) update.run(packed.payload, packed.crc32, row.firstSlot);
  }
}
