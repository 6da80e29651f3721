import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { resolveCaptureDirectory } from '../../../src/storage/capture/directory.ts';
import { RunReader } from '../../../src/storage/runs/reader.ts';
import { SqliteRunStore } from '../../../src/storage/runs/store.ts';
import { captureOf } from '../../support/captures.ts';
import { requestsOf } from '../../support/replaying.ts';
import { run, send } from '../../support/sends.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const TOTALS = { planned: 1, sent: 1, completed: 1, failed: 0, cancelled: 0, refused: 0 };

test('what is no run, and another format, are refused with the reason', () => {
  const none = temporaryDirectory();
  const invalid = expect.objectContaining({ code: 'INPUT_INVALID' });
  expect(() => new RunReader(none)).toThrow(invalid);
  writeFileSync(join(none, 'run.sqlite'), 'not a database at all, just some text');
  expect(() => new RunReader(none)).toThrow(invalid);
  const later = join(temporaryDirectory(), 'run');
  const store = new SqliteRunStore(later);
  store.append([send({ index: 0 })]);
  store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
  for (const [version, code] of [
    ['99', 'SCHEMA_TOO_NEW'],
    ['3', 'SCHEMA_TOO_OLD'],
  ]) {
    const database = new Database(join(later, 'run.sqlite'));
    database.prepare("UPDATE meta SET value = ? WHERE key = 'format_version'").run(version);
    database.close();
    expect(() => new RunReader(later)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(`format ${version}`) }),
    );
  }
});

test('a run of format 8 could not be read, which only lacks some columns', () => {
  const directory = join(temporaryDirectory(), 'run');
  const store = new SqliteRunStore(directory);
  const sends = [send({ index: 0, bodyCrc: 7 }), send({ index: 1, bodyCrc: 8 })];
  store.append(sends);
  store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
  const database = new Database(join(directory, 'run.sqlite'));
  const view = database
    .prepare<[], string>("SELECT sql FROM sqlite_schema WHERE name = 'send'")
    .pluck()
    .get();
  database.exec('DROP VIEW send');
  const [in9, in10] = [
    ['body_crc', 'recorded_tokens', 'recorded_body'],
    ['write_ns', 'paused_ns', 'first_token_paused_ns', 'last_token_paused_ns', 'unpaused_gaps'],
  ];
  database.exec((view as string).replace(`${in9.join(', ')},`, '').replace(`${in10.join(', ')},`, ''));
  for (const column of [...in9, ...in10]) database.exec(`ALTER TABLE send_row DROP COLUMN ${column}`);
  database.prepare("UPDATE meta SET value = '8' WHERE key = 'format_version'").run();
  database.close();
  const reader = new RunReader(directory);
  // How long the sender was paused is unknown, and not 0.
  const unknown = { writeNs: null, pausedNs: null };
  expect([...reader.sends()]).toEqual([send({ index: 0, ...unknown }), send({ index: 1, ...unknown })]);
  expect(reader.send(1)).toEqual(send({ index: 1, ...unknown }));
  reader.close();
});

test('a capture was no readable run, and a run no capture, with no word on what they are', () => {
  const [capture, made] = [captureOf(requestsOf(1)), join(temporaryDirectory(), 'run')];
  const store = new SqliteRunStore(made);
  store.seal(run(), TOTALS, { schemaVersion: 1, verdict: 'PASS' });
  const search = temporaryDirectory();
  writeFileSync(join(search, 'capacity.json'), '{}');
  for (const [path, what, command] of [
    [capture, 'it is a capture', 'reprise inspect'],
    [search, 'it is a search', 'the same --out'],
    [join(search, 'none'), 'no such directory', 'replay --out'],
  ] as const) {
    expect(() => new RunReader(path)).toThrow(
      expect.objectContaining({
        message: expect.stringContaining(what),
        hint: expect.stringContaining(command),
      }),
    );
  }
  expect(() => resolveCaptureDirectory(made, 'read')).toThrow(
    expect.objectContaining({
      code: 'CAPTURE_NOT_FOUND',
      message: expect.stringContaining('it is a run'),
      hint: expect.stringContaining(`reprise report ${made}`),
    }),
  );
});
