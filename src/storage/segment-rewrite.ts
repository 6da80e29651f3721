import { closeSync, openSync, readSync } from 'node:fs';
import { type BlockRow, decodeBlock, encodeBlock } from './block.ts';
import type { BlockCipher } from './block-cipher.ts';
import { type Connection, damaged, openForFilling } from './database.ts';
import { amountOf, conditionOf, type ForgetSelection, kindsOf } from './forget-selection.ts';
import { SELECT_HOUR_SUMS, SELECT_SECOND_SUMS } from './roll-up-queries.ts';
import { factsOf } from './sealing.ts';
import { type Forgotten, readMeta, setMeta } from './segment-meta.ts';

/** Tables that are not copied as they are. */
const FILTERED = ['exchange', 'body', 'name', 'block', 'second', 'hour'];

const NOTHING = new Uint8Array(0);

const SELECT_NEXT_BLOCK = `SELECT first_slot AS firstSlot, slots, raw_bytes AS rawBytes, codec, crc32, payload
FROM old.block WHERE first_slot > ? ORDER BY first_slot LIMIT 1`;

export interface RewriteOptions {
  /** The sealed segment. */
  readonly path: string;
  readonly file: string;
  /** The file to be made. */
  readonly target: string;
  readonly selection: ForgetSelection;
  /** Null for a segment that is not encrypted. */
  readonly cipher: BlockCipher | null;
  readonly nowUs: number;
}

/**
 * Writes a segment anew without what is to be forgotten, as a file of its own in which it never was: rows are
 * copied, not deleted. Ids and slots stay what they were, so that whatever else refers to the segment stays true:
 * in a block a forgotten slot is left as an empty one.
 * @returns what a manifest says of it
 * @throws AppError CAPTURE_DAMAGED, what SQLite and the file system throw; the target is then to be removed.
 */
export function rewriteWithout(options: RewriteOptions): ReturnType<typeof factsOf> {
  const { path, file, target, selection } = options;
  closeSync(openSync(target, 'wx', 0o600));
  const connection = openForFilling(target, pageBytesOf(path));
  try {
    connection.prepare('ATTACH ? AS old').run(path);
    copyIdentity(connection);
    createTables(connection);
    const { sql, bound } = conditionOf(selection);
    connection.transaction(() => {
      connection.exec('CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY)');
      connection.prepare(`INSERT INTO gone SELECT id FROM old.exchange WHERE ${sql}`).run(...bound);
      copyRows(connection, file);
      copyBlocks(connection, options);
      noteForgotten(connection, options);
    })();
    connection.exec('DETACH old');
    const found = connection.pragma('quick_check', { simple: true });
    if (found !== 'ok') throw damaged(file, `written anew it fails its check: ${found}`);
    return factsOf(connection, file);
  } finally {
    connection.close();
  }
}

/** Small segments have small pages; what is left of one has no need of larger ones. */
function pageBytesOf(path: string): number {
  const header = Buffer.alloc(100);
  const descriptor = openSync(path, 'r');
  try {
    readSync(descriptor, header, 0, header.byteLength, 0);
  } finally {
    closeSync(descriptor);
  }
  // SQLite writes 65536 as 1.
  const bytes = header.readUInt16BE(16);
  return bytes === 1 ? 65_536 : bytes;
}

function copyIdentity(connection: Connection): void {
  for (const name of ['application_id', 'user_version']) {
    connection.pragma(`main.${name} = ${connection.pragma(`old.${name}`, { simple: true })}`);
  }
}

/** The segment's own tables, indexes and views, of whatever version it is. */
function createTables(connection: Connection): void {
  const statements = connection
    .prepare<[], string>(
      "SELECT sql FROM old.sqlite_schema WHERE sql IS NOT NULL ORDER BY type <> 'table', type <> 'index'",
    )
    .pluck()
    .all();
  for (const sql of statements) connection.exec(sql);
}

function copyRows(connection: Connection, file: string): void {
  const tables = connection
    .prepare<[], string>(
      "SELECT name FROM old.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .pluck()
    .all();
  for (const table of tables.filter((name) => !FILTERED.includes(name))) {
    connection.exec(`INSERT INTO main.${table} SELECT * FROM old.${table}`);
  }
  connection.exec(`
    INSERT INTO main.exchange SELECT * FROM old.exchange WHERE id NOT IN (SELECT id FROM gone) ORDER BY id;
    INSERT INTO main.body SELECT * FROM old.body WHERE id IN (
      SELECT request_body FROM main.exchange UNION SELECT response_body FROM main.exchange) ORDER BY id;
    INSERT INTO main.name SELECT * FROM old.name WHERE id IN (
      SELECT protocol FROM main.exchange UNION SELECT method FROM main.exchange
      UNION SELECT route FROM main.exchange UNION SELECT model FROM main.exchange) ORDER BY id;
    INSERT INTO main.second ${SELECT_SECOND_SUMS};
    INSERT INTO main.hour SELECT sums.*, known.committed_us
      FROM (${SELECT_HOUR_SUMS}) sums JOIN old.hour known ON known.hour = sums.hour;
  `);
  const { kept, summed } = connection
    .prepare<[], { kept: number; summed: number }>(
      'SELECT (SELECT count(*) FROM main.exchange) AS kept, (SELECT coalesce(sum(exchanges), 0) FROM main.hour) AS summed',
    )
    .get() ?? { kept: 0, summed: 0 };
  if (kept !== summed) throw damaged(file, `its hours know ${summed} of ${kept} exchanges`);
}

/** Blocks without a slot that goes are copied as they are; one that has nothing else is left out. */
function copyBlocks(connection: Connection, { file, cipher }: RewriteOptions): void {
  connection.exec(`
    CREATE TEMP TABLE dropped (slot INTEGER PRIMARY KEY);
    INSERT OR IGNORE INTO dropped SELECT heads_slot FROM old.exchange
      WHERE id IN (SELECT id FROM gone) AND heads_slot IS NOT NULL;
    INSERT OR IGNORE INTO dropped SELECT slot FROM old.body
      WHERE slot IS NOT NULL AND id NOT IN (SELECT id FROM main.body);
  `);
  const next = connection.prepare<[number], BlockRow>(SELECT_NEXT_BLOCK);
  const droppedIn = connection
    .prepare<[number, number], number>('SELECT slot FROM dropped WHERE slot >= ? AND slot < ?')
    .pluck();
  const insert = connection.prepare(
    'INSERT INTO main.block (first_slot, slots, raw_bytes, codec, crc32, payload) VALUES (?, ?, ?, ?, ?, ?)',
  );
  for (let row = next.get(Number.MIN_SAFE_INTEGER); row !== undefined; row = next.get(row.firstSlot)) {
    const dropped = droppedIn.all(row.firstSlot, row.firstSlot + row.slots);
    if (dropped.length === row.slots) continue;
    const kept = dropped.length === 0 ? row : without(row, dropped, file, cipher);
    insert.run(kept.firstSlot, kept.slots, kept.rawBytes, kept.codec, kept.crc32, kept.payload);
  }
}

function without(
  row: BlockRow,
  dropped: readonly number[],
  file: string,
  cipher: BlockCipher | null,
): BlockRow {
  const slots = [...decodeBlock(row, file, cipher)];
  for (const slot of dropped) slots[slot - row.firstSlot] = NOTHING;
  return encodeBlock(row.firstSlot, slots, cipher);
}

/** Adds to what was forgotten of it before. */
function noteForgotten(connection: Connection, { file, selection, nowUs }: RewriteOptions): void {
  const before = readMeta(connection, file).forgotten;
  const { exchanges, bytes } = amountOf(connection, selection, 'old');
  const forgotten: Forgotten = {
    exchanges: exchanges + (before?.exchanges ?? 0),
    bytes: bytes + (before?.bytes ?? 0),
    atUs: nowUs,
    by: [...new Set([...(before?.by ?? []), ...kindsOf(selection)])],
  };
  setMeta(connection, { forgotten: JSON.stringify(forgotten) });
}
