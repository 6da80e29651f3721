import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openForWriting } from '../../src/storage/database.ts';
import { StatementCache } from '../../src/storage/statement-cache.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('compiles each text once, and keeps texts and connections apart', () => {
  const [first, second] = ['a.sqlite', 'b.sqlite'].map((name) => {
    const connection = openForWriting(join(temporaryDirectory(), name), 'seal');
    onTestFinished(() => void connection.close());
    connection.exec(`CREATE TABLE kept (value TEXT); INSERT INTO kept VALUES ('${name}')`);
    return new StatementCache(connection);
  });
  const text = 'SELECT value FROM kept WHERE value <> ?';
  const statement = first!.of<[string], string>(text);
  expect(first!.of(text)).toBe(statement);
  expect(statement.pluck().all('c')).toEqual(['a.sqlite']);
  expect(first!.of<[string], string>(text).all('c')).toEqual(['a.sqlite']);
  expect(first!.of<[], { count: number }>('SELECT count(*) AS count FROM kept').get()).toEqual({ count: 1 });
  expect(second!.of<[string], string>(text).pluck().all('c')).toEqual(['b.sqlite']);
});
