import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { capacityCommand } from '../../src/cli/commands/capacity.ts';
import { compareCommand } from '../../src/cli/commands/compare.ts';
import { changeCommand } from '../../src/cli/commands/control.ts';
import { drainCommand } from '../../src/cli/commands/drain.ts';
import { exportCommand } from '../../src/cli/commands/export.ts';
import { faultsCommand } from '../../src/cli/commands/faults.ts';
import { forgetCommand } from '../../src/cli/commands/forget.ts';
import { gateCommand } from '../../src/cli/commands/gate.ts';
import { historyCommand } from '../../src/cli/commands/history.ts';
import { importCommand } from '../../src/cli/commands/import.ts';
import { inspectCommand } from '../../src/cli/commands/inspect.ts';
import { mergeCommand } from '../../src/cli/commands/merge.ts';
import { profileCommand } from '../../src/cli/commands/profile.ts';
import { recordCommand } from '../../src/cli/commands/record.ts';
import { replayCommand } from '../../src/cli/commands/replay.ts';
import { reportCommand } from '../../src/cli/commands/report.ts';
import { runCommand } from '../../src/cli/commands/run.ts';
import { selftestCommand } from '../../src/cli/commands/selftest.ts';
import { statusCommand } from '../../src/cli/commands/status.ts';
import { verifyCommand } from '../../src/cli/commands/verify.ts';
import { EXIT } from '../../src/cli/exit.ts';
import { metricsOf } from '../../src/proxy/control/metrics.ts';
import { relayMetricsOf } from '../../src/proxy/faults/control-api.ts';
import { FaultRelay } from '../../src/proxy/faults/relay.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { someStatus } from '../support/some-status.ts';

const readme = readFileSync(join(repositoryRoot, 'README.md'), 'utf8');
/** The page that has the flags of `record`, too many for the README. */
const recording = readFileSync(join(repositoryRoot, 'docs', 'recording.md'), 'utf8');

/** The same for `export`, and for imports of other formats than arrival traces. */
const formats = readFileSync(join(repositoryRoot, 'docs', 'formats.md'), 'utf8');

/** The text below a heading, up to the next heading of any level. */
function sectionOf(heading: RegExp): string {
  const match = new RegExp(`^#+ ${heading.source}.*$`, 'm').exec(readme);
  if (match === null) throw new Error(`README.md has no heading ${heading}`);
  const rest = readme.slice(match.index + match[0].length);
  const end = /^#+ /m.exec(rest);
  return end === null ? rest : rest.slice(0, end.index);
}

function longFlagsOf(command: Command): string[] {
  // A flag may have a second, shorter word that is long as well.
  const own = command.options.flatMap(({ long, short }) => [
    long ?? '',
    ...(short?.startsWith('--') ? [short] : []),
  ]);
  return [...own, ...command.commands.flatMap(longFlagsOf)].sort();
}

function commandOf(command: Command, name: string): Command {
  const child = command.commands.find((each) => each.name() === name);
  if (child === undefined) throw new Error(`there is no ${name}`);
  return child;
}

function flagsIn(text: string): string[] {
  return [...new Set(text.match(/--[a-z][a-z-]+/g))].sort();
}

describe('README.md', () => {
  test.each([
    ['import', commandOf(importCommand(), 'arrivals'), /import arrivals/],
    ['inspect', inspectCommand(), /inspect CAPTURE/],
    ['verify', verifyCommand(), /verify CAPTURE/],
    ['forget', forgetCommand(), /forget CAPTURE/],
    ['profile', profileCommand(), /profile CAPTURE/],
    ['replay', replayCommand(), /replay CAPTURE/],
    ['merge', mergeCommand(), /merge RUN/],
    ['report', reportCommand(), /report RUN/],
    ['compare', compareCommand(), /compare A B/],
    ['selftest', selftestCommand(), /selftest/],
    ['status', statusCommand(), /status of a recording/],
    ['drain', drainCommand(), /drain a recording/],
    ['pause', changeCommand('pause'), /pause a recording/],
    ['resume', changeCommand('resume'), /resume a recording/],
  ])('names every flag of %s and no other', (_, command, heading) => {
    const section = sectionOf(heading).replaceAll('|', '');
    expect(flagsIn(section)).toEqual(longFlagsOf(command));
  });

  test('leaves the flags of record to a page that names every one of them and no other', () => {
    const flags = flagsIn(recording.slice(recording.indexOf('### Traffic')).replaceAll('|', ''));
    expect(flags.filter((flag) => flag !== '--config')).toEqual(longFlagsOf(recordCommand()));
    expect(readme).toContain('(docs/recording.md)');
  });

  test('leaves the flags of faults to a page that names every one of them and no other', () => {
    const page = readFileSync(join(repositoryRoot, 'docs', 'dependency-faults.md'), 'utf8');
    const [, own = ''] = page.split('| flag of `faults`');
    const flags = flagsIn(own.slice(0, own.indexOf('**The control API')).replaceAll('|', ''));
    expect(flags).toEqual([...new Set(longFlagsOf(faultsCommand()))]);
    expect(readme).toContain('(docs/dependency-faults.md)');
  });

  test('leaves the flags of export and of other imports to a page that names every one of them and no other', () => {
    const [exporting = '', importing = ''] = formats.slice(formats.indexOf('## Export')).split('## Import');
    const tableOf = (text: string) =>
      flagsIn(
        text
          .match(/^\| `--.*$/gm)
          ?.join('\n')
          .replaceAll('|', '') ?? '',
      );
    expect(tableOf(exporting)).toEqual(longFlagsOf(exportCommand()));
    const imports = ['har', 'gor', 'mooncake'].flatMap((name) =>
      longFlagsOf(commandOf(importCommand(), name)),
    );
    expect(tableOf(importing)).toEqual([...new Set(imports)].sort());
    expect(readme).toContain('(docs/formats.md)');
  });

  test('leaves the flags of run to a page that names every one of them and no other', () => {
    const scenarios = readFileSync(join(repositoryRoot, 'docs', 'scenarios.md'), 'utf8');
    const table = scenarios.match(/^\| `--.*$/gm)?.join('\n') ?? '';
    expect(flagsIn(table.replaceAll('|', ''))).toEqual(longFlagsOf(runCommand([])));
    expect(readme).toContain('(docs/scenarios.md)');
  });

  test.each([
    ['history', historyCommand(), '## History'],
    ['gate', gateCommand([]), '## The gate'],
  ])('leaves the flags of %s to a page that names every one of them and no other', (_, command, heading) => {
    const page = readFileSync(join(repositoryRoot, 'docs', 'ci.md'), 'utf8');
    const section = page.slice(page.indexOf(heading)).split(/^## /m)[1] ?? '';
    const table = section.match(/^\| `--.*$/gm)?.join('\n') ?? '';
    expect(flagsIn(table.replaceAll('|', ''))).toEqual(longFlagsOf(command));
  });

  test('leaves the flags of capacity to a page that names every one that replay has not', () => {
    const page = readFileSync(join(repositoryRoot, 'docs', 'capacity.md'), 'utf8');
    const own = longFlagsOf(capacityCommand()).filter((flag) => !longFlagsOf(replayCommand()).includes(flag));
    expect(flagsIn(page)).toEqual(expect.arrayContaining(own));
    expect(readme).toContain('(docs/capacity.md)');
  });

  test('names every exit status', () => {
    const stated = sectionOf(/Exit codes/).matchAll(/^\| ([\d, ]+?) *\|/gm);
    const statuses = [...stated].flatMap(([, numbers = '']) => numbers.split(',').map(Number));
    expect(statuses).toEqual(Object.values(EXIT));
  });
});

describe('a page of the documentation', () => {
  const pages = ['.', 'docs', 'docs/adr', 'bench', 'fixtures'].flatMap((folder) =>
    readdirSync(join(repositoryRoot, folder))
      .filter((file) => file.endsWith('.md'))
      .map((file) => join(folder, file)),
  );

  test.each(pages)('links only to what exists: %s', (page) => {
    const text = readFileSync(join(repositoryRoot, page), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => target);
    const broken = targets.filter((target) => !existsSync(join(repositoryRoot, dirname(page), target)));
    expect(broken).toEqual([]);
  });

  test.each(pages)('names only metrics that a scrape has: %s', async (page) => {
    const relay = { proxies: [], seed: 1, maxConnections: 1, maxFaults: 1, tls: null, upstreamTls: null };
    const faults = await relayMetricsOf(new FaultRelay(relay, () => undefined));
    const scraped = `${await metricsOf(someStatus())}${faults}`;
    const known = new Set([...scraped.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    expect(known.size).toBeGreaterThan(30);
    const text = readFileSync(join(repositoryRoot, page), 'utf8');
    expect(
      [...text.matchAll(/\breprise_\w+/g)].map(([name]) => name).filter((name) => !known.has(name)),
    ).toEqual([]);
  });

  test('names only source files that exist: docs/ARCHITECTURE.md', () => {
    const text = readFileSync(join(repositoryRoot, 'docs', 'ARCHITECTURE.md'), 'utf8');
    const named = [...text.matchAll(/`((?:[a-z-]+\/)+[a-z0-9-]+\.ts)`/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter((path) => !existsSync(join(repositoryRoot, 'src', path)))).toEqual([]);
  });
});

test('each line of what can go wrong names tests that are there', () => {
  const page = readFileSync(join(repositoryRoot, 'docs', 'what-can-go-wrong.md'), 'utf8');
  const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| ---'));
  const faults = rows.slice(1).map((row) => row.split(' | '));
  expect(faults.length).toBeGreaterThan(15);
  for (const cells of faults) {
    const tests = [...(cells.at(-1) ?? '').matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path);
    expect(cells, cells[0]).toHaveLength(6);
    expect(tests, cells[0]).not.toEqual([]);
    expect(tests.filter((path) => !existsSync(join(repositoryRoot, path)))).toEqual([]);
  }
});
