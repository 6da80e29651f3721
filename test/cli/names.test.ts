import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { shapeOf } from '../../src/cli/options.ts';
import { everyCommand } from '../../src/cli/program.ts';
import { longNamesOf, textsOf } from '../../src/core/options.ts';
import { RUN_SCHEMA } from '../../src/storage/runs/schema.ts';
import { RunInstruments } from '../../src/telemetry/instruments.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { repositoryRoot } from '../support/shared-data.ts';

interface Row {
  readonly what: string;
  readonly flags: readonly string[];
  readonly keys: readonly string[];
  readonly metrics: readonly string[];
  readonly columns: readonly string[];
}

const page = readFileSync(join(repositoryRoot, 'docs/reference/names.md'), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| **'))
  .map((line): Row => {
    const [what = '', ...cells] = line.split('|').slice(1, -1);
    const [flags = [], keys = [], metrics = [], columns = []] = cells.map((cell) =>
      [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
    );
    return { what, flags, keys, metrics, columns };
  });

const named = (key: Exclude<keyof Row, 'what'>) => rows.flatMap((row) => row[key]);

test('the table of names has flags that commands have', async () => {
  const commands = await everyCommand(COMMANDS);
  const known = commands.flatMap((command) =>
    Object.values(shapeOf(command)).flatMap((type) =>
      longNamesOf(textsOf(type).flags ?? '').map((flag) => `${command.name()} ${flag}`),
    ),
  );
  expect(named('flags').length).toBeGreaterThan(20);
  expect(named('flags').filter((flag) => !known.includes(flag))).toEqual([]);
});

test('the table of names has keys that documents have', () => {
  const isKey = (name: string) => {
    const [document = '', key = ''] = name.split('.');
    const schema = readFileSync(join(repositoryRoot, `docs/${document}.schema.json`), 'utf8');
    return schema.includes(`"${key}": {`);
  };
  expect(named('keys').length).toBeGreaterThan(12);
  expect(named('keys').filter((name) => !isKey(name))).toEqual([]);
});

test('the table of names has every metric of a replay that is about one of its things', () => {
  const metrics = new RunInstruments().collect().map(({ prometheus }) => prometheus);
  expect(named('metrics').filter((name) => !metrics.includes(name))).toEqual([]);
  expect(named('metrics').length).toBeGreaterThan(metrics.length / 2);
});

test('the table of names has columns that captures and runs have', () => {
  const [segment = ''] = globSync(`${captureOf([exchangeOf()])}/*.sqlite`);
  const databases = [new Database(segment, { readonly: true }), new Database(':memory:').exec(RUN_SCHEMA)];
  const columnsOf = (table: string) =>
    databases.flatMap((database) =>
      (database.pragma(`table_info(${table})`) as { readonly name: string }[]).map(({ name }) => name),
    );
  const missing = named('columns').filter((name) => {
    const [table = '', column = ''] = name.split('.');
    return !columnsOf(table).includes(column);
  });
  for (const database of databases) database.close();
  expect(named('columns').length).toBeGreaterThan(7);
  expect(missing).toEqual([]);
});

test('nothing has two names: no flag, metric or column is in two rows', () => {
  for (const key of ['flags', 'metrics', 'columns'] as const) {
    const names = named(key);
    expect(names.filter((name, at) => names.indexOf(name) < at)).toEqual([]);
  }
});
