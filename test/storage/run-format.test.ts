import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { RunReader } from '../../src/storage/run-reader.ts';
import { RUN_SCHEMA } from '../../src/storage/run-schema.ts';
import { run, send } from '../support/sends.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A run as format 1 had it: no cancels, and nothing of answers. */
const FORMAT_1 = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE send (
  send_index INTEGER PRIMARY KEY, segment TEXT NOT NULL, exchange_id INTEGER NOT NULL, route TEXT, model TEXT,
  request_bytes INTEGER NOT NULL, intended_offset_ns INTEGER NOT NULL, actual_offset_ns INTEGER,
  start_offset_ns INTEGER, first_byte_offset_ns INTEGER, last_byte_offset_ns INTEGER, status INTEGER,
  response_bytes INTEGER NOT NULL, error TEXT, refused INTEGER NOT NULL
) STRICT;
CREATE TABLE series (
  second INTEGER PRIMARY KEY, offered INTEGER NOT NULL, sent INTEGER NOT NULL, completed INTEGER NOT NULL,
  failed INTEGER NOT NULL, refused INTEGER NOT NULL, in_flight INTEGER NOT NULL, lag_max_ns INTEGER
) STRICT;`;

test('a run of format 1 is read as one whose answers nobody looked into', () => {
  const directory = join(temporaryDirectory(), 'run');
  mkdirSync(directory);
  const database = new Database(join(directory, 'run.sqlite'));
  database.exec(FORMAT_1);
  const meta = database.prepare('INSERT INTO meta VALUES (?, ?)');
  meta.run('format_version', '1');
  meta.run('run', JSON.stringify(run()));
  meta.run('totals', JSON.stringify({ planned: 1, sent: 1, completed: 1, failed: 0, refused: 0 }));
  const old = send({ index: 0 });
  database
    .prepare('INSERT INTO send VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run(
      old.index,
      old.segment,
      old.exchangeId,
      old.route,
      old.model,
      old.requestBytes,
      old.intendedOffsetNs,
      old.actualOffsetNs,
      old.startOffsetNs,
      old.firstByteOffsetNs,
      old.lastByteOffsetNs,
      old.status,
      old.responseBytes,
      null,
      0,
    );
  database.prepare('INSERT INTO series VALUES (0, 1, 1, 1, 0, 0, 0, 0)').run();
  database.close();
  writeFileSync(join(directory, 'summary.json'), '{}');
  const reader = new RunReader(directory);
  expect([...reader.sends()]).toEqual([old]);
  expect(reader.totals).toMatchObject({ sent: 1, cancelled: 0 });
  expect(reader.series()).toMatchObject([{ second: 0, completed: 1, cancelled: 0 }]);
  reader.close();
});

test('a run of format 2 is read as one whose answers nobody compared', () => {
  const directory = join(temporaryDirectory(), 'run');
  mkdirSync(directory);
  const database = new Database(join(directory, 'run.sqlite'));
  // What the third format added, taken out again.
  const format2 = RUN_SCHEMA.replace(/,\n {2}check_result TEXT,\n {2}check_pointer TEXT/, '').replace(
    ', check_result, check_pointer',
    '',
  );
  expect(format2).not.toContain('check_');
  database.exec(format2);
  database.prepare('INSERT INTO meta VALUES (?, ?)').run('format_version', '2');
  database.prepare('INSERT INTO label VALUES (1, ?)').run('a.sqlite');
  database
    .prepare(
      `INSERT INTO send_row (send_index, segment, exchange_id, request_bytes, intended_offset_ns, status,
        response_bytes, refused, cancelled, streamed, warmup) VALUES (0, 1, 7, 10, 5, 200, 20, 0, 0, 0, 0)`,
    )
    .run();
  database.close();
  const reader = new RunReader(directory);
  const [read] = [...reader.sends()];
  reader.close();
  expect(read).toMatchObject({ index: 0, segment: 'a.sqlite', exchangeId: 7, status: 200 });
  expect(read?.check).toBeUndefined();
});
