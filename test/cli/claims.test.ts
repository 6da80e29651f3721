import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { EXECUTORS } from '../../fixtures/demo/demo.ts';
import { escaped } from '../../src/analysis/render/html.ts';
import { sampleFloor } from '../../src/analysis/stats/percentiles.ts';
import { REASON_CODES } from '../../src/analysis/verdict/reasons.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { shapeOf } from '../../src/cli/options.ts';
import { everyCommand } from '../../src/cli/program.ts';
import { LOSS_REASONS, OMISSION_CAUSES } from '../../src/core/accounting.ts';
import { textsOf } from '../../src/core/options.ts';
import { SEND_ERRORS } from '../../src/core/run.ts';
import { SKIP_REASONS } from '../../src/replay/window/capture.ts';
import { FORMAT_VERSION } from '../../src/storage/capture/schema.ts';
import { blocksOf, commandsOf, docPages, isShell, pageText } from '../docs/doc-blocks.ts';
import { FLOORS } from '../house-rules.ts';
import { runCommand } from '../support/command-here.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const readme = pageText('README.md');
/** All of src, as one text. */
const sources = readdirSync(join(repositoryRoot, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => readFileSync(join(repositoryRoot, 'src', file), 'utf8'))
  .join('\n');
const OF_ALL = ['--help', '--help-all', '--version', '--config', '--log-format'];
const at = (...path: string[]) => join(repositoryRoot, ...path);

/** The texts in backquotes of a text. */
const quoted = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
const testsIn = (text: string): string[] => quoted(text).filter((word) => word.startsWith('test/'));

/** The cells of the table below a heading of a page, without its head. */
function rowsBelow(page: string, heading: string): string[][] {
  const [, part = ''] = pageText(page).split(`\n## ${heading}\n`);
  const lines = (part.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| '));
  return lines.slice(2).map((line) => line.split(' | ').map((cell) => cell.replaceAll(/^\| | \|$/g, '')));
}

describe('SECURITY.md', () => {
  const promises = pageText('SECURITY.md').match(/^- .*/gm) ?? [];

  test.each(promises)('%s', (promise) => {
    expect(testsIn(promise)).not.toEqual([]);
    expect(testsIn(promise).filter((path) => !existsSync(at(path)))).toEqual([]);
  });

  test('names where to report', () => {
    const { repository } = JSON.parse(readFileSync(at('package.json'), 'utf8'));
    const [, home] = /^git\+(https:.*)\.git$/.exec(repository.url) ?? [];
    expect(pageText('SECURITY.md')).toContain(`(${home}/security/advisories/new)`);
  });
});

/** The defaults of each flag, over all commands. */
async function defaultsOf(): Promise<ReadonlyMap<string, readonly string[]>> {
  const withSubcommands = (command: Command): Command[] => [
    command,
    ...command.commands.flatMap(withSubcommands),
  ];
  const defaults = new Map<string, string[]>();
  for (const command of (await everyCommand(COMMANDS)).flatMap(withSubcommands))
    for (const type of Object.values(shapeOf(command))) {
      const { flags, default: initial } = textsOf(type);
      const name = flags?.match(/--[\w-]+/)?.[0];
      if (name !== undefined && initial !== null)
        defaults.set(name, [...(defaults.get(name) ?? []), ...[initial].flat()]);
    }
  return defaults;
}

test.each(['README.md', 'SECURITY.md'])('defaults of flags in %s are those of the commands', async (page) => {
  const defaults = await defaultsOf();
  const named = [...pageText(page).matchAll(/`(--[\w-]+)` \(`([^`]+)`\)/g)];
  expect(named.filter(([, flag = '', value = '']) => !defaults.get(flag)?.includes(value))).toEqual([]);
  if (page === 'SECURITY.md') expect(named).toHaveLength(2);
});

test('defaults in tables of flags are those of a command', async () => {
  const defaults = await defaultsOf();
  const plain = (text: string) => text.replaceAll(/[ ,`]|\.0(?=\D)/g, '');
  const rows = docPages()
    .filter((page) => page !== 'docs/reference/commands.md')
    .flatMap((page) => pageText(page).split(/\n(?!\|)/))
    .map((table) => table.split('\n').filter((line) => line.startsWith('|')))
    .filter(([head = '']) => /^\| flag +\| default/.test(head))
    .flatMap(([, , ...lines]) => lines)
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
  const wrong = rows.filter(([, flag = '', shown = '']) => {
    const known = defaults.get(flag.match(/--[\w-]+/)?.[0] ?? '');
    // Words, such as "all", say more than a default.
    return (
      known !== undefined && /^`?\d/.test(shown) && !known.some((each) => plain(each).includes(plain(shown)))
    );
  });
  expect(rows.length).toBeGreaterThan(80);
  expect(wrong).toEqual([]);
});

describe('README.md', () => {
  const rows = rowsBelow('README.md', 'What is different');

  test.each(rows)('%s: names what runs it', (...cells) => {
    expect(testsIn(cells.at(-1) ?? '')).not.toEqual([]);
  });

  test('names the suites that a push and a release run', () => {
    const stages = readFileSync(at('.ci/run'), 'utf8');
    const runsOf = (workflow: string) =>
      Object.values<{ steps: { run?: string }[] }>(
        parse(readFileSync(at('.github/workflows', workflow), 'utf8')).jobs,
      ).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []));
    expect(runsOf('check.yml').join()).toMatch(/bash \.ci\/run quick$/);
    expect(runsOf('release.yml').join()).toMatch(/bash \.ci\/run(,|$)/);
    const quick = / set -- (.*)$/m.exec(stages)?.[1]?.split(' ') ?? [];
    // `npm test` runs the integration tests.
    const pushed = /A push runs those in (.*?),/.exec(readme)?.[1] ?? '';
    expect(testsIn(pushed)).toEqual(['test/integration', 'test/faults']);
    expect(quick).toEqual(expect.arrayContaining(['test', 'faults']));
    const suites = rows
      .flatMap((cells) => testsIn(cells.at(-1) ?? ''))
      .flatMap((path) => path.split('/')[1] ?? []);
    for (const suite of new Set(suites.filter((each) => each !== 'integration')))
      expect(stages).toMatch(new RegExp(`^suite ${suite} `, 'm'));
  });

  test('names the systems for which the checkout has a Node and the database its program', () => {
    expect(readme).toContain('Linux or macOS on x64 or arm64');
    const { optionalDependencies } = JSON.parse(readFileSync(at('tools/node/package.json'), 'utf8'));
    const brought = Object.keys(optionalDependencies).join();
    const built = readdirSync(at('node_modules/better-sqlite3/prebuilds'));
    for (const system of ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64']) {
      expect(brought).toContain(system);
      expect(built).toContain(`${system}.node`);
    }
  });

  test('has the outputs and pictures of one run of the demo', () => {
    const run = JSON.parse(readFileSync(at('docs/images/run.json'), 'utf8'));
    const blocks = blocksOf('README.md').filter(({ language }) => language === 'text');
    expect(blocks).toHaveLength(2);
    for (const [index, output] of [run.inspect, run.replay].entries()) {
      const shown = (blocks[index]?.text.trimEnd() ?? '').split('\n').filter((line) => line !== '…');
      expect(output.split('\n').filter((line: string) => shown.includes(line))).toEqual(shown);
    }
    const terminal = readFileSync(at('docs/images/terminal.svg'), 'utf8');
    for (const line of run.replay.split('\n')) expect(terminal).toContain(`>${escaped(line)}</text>`);
    const pictures = [...readme.matchAll(/\(docs\/images\/(\w+)\.png\)/g)].map(([, name = '']) => name);
    expect(pictures).toEqual(Object.keys(run.pictures));
    for (const name of pictures) {
      const bytes = readFileSync(at('docs/images', `${name}.png`));
      expect(createHash('sha256').update(bytes).digest('hex'), 'run: npm run screenshots').toBe(
        run.pictures[name],
      );
    }
  });

  test('names the sizes of the servers of the demo', () => {
    expect(readme).toContain(
      `(${EXECUTORS.search} requests at a time instead of ${EXECUTORS.replay}) takes four minutes`,
    );
    expect(EXECUTORS.search * 2).toBe(EXECUTORS.replay);
  });
});

test('--help-all of each command prints the flags that docs/reference/commands.md has of it', async () => {
  expect(pageText('docs/reference/commands.md')).toContain('`reprise COMMAND --help-all` prints the same');
  const [, ...sections] = pageText('docs/reference/commands.md').split(/^## /m);
  for (const section of sections) {
    const name = section.split('\n')[0] ?? '';
    if (name === 'All commands' || section.includes('\n### ')) continue;
    const { stdout } = await runCommand([name, '--help-all']);
    const flags = [...section.matchAll(/`(?:-\w, )?(--[\w-]+)/g)].map(([, flag = '']) => flag);
    expect(flags.filter((flag) => !stdout.includes(flag) && !section.includes(`"${flag}`))).toEqual([]);
  }
});

/** The flags of a command and of its subcommands. */
function flagsOf(command: Command): string[] {
  const own = command.options.flatMap(({ flags }) => flags.match(/--[\w-]+/g) ?? []);
  return [...own, ...command.commands.flatMap(flagsOf)];
}

describe('a command within a sentence', () => {
  const pages = [...docPages(), 'CHANGELOG.md'].filter((page) => page !== 'docs/reference/commands.md');

  test.each(pages)('has flags of that command: %s', async (page) => {
    const known = new Map((await everyCommand(COMMANDS)).map((each) => [each.name(), flagsOf(each)]));
    const text = pageText(page).replaceAll(/^[ \t]*```[\s\S]*?^[ \t]*```/gm, '');
    const wrong = quoted(text).flatMap((words) => {
      const [, name = '', rest = ''] = /^(?:npx )?(?:reprise )?([a-z]+) ((?:.* )?--.*)$/s.exec(words) ?? [];
      const flags = known.get(name);
      if (flags === undefined) return [];
      // `record -- COMMAND` has flags of another program, and `config print` those of the command that it prints.
      const named = (rest.split(' -- ')[0] ?? '').match(/(?<![\w-])--[a-z][\w-]*/g) ?? [];
      const printed = name === 'config' ? rest.split(' ').flatMap((word) => known.get(word) ?? []) : [];
      return named
        .filter((flag) => ![...flags, ...printed, ...OF_ALL].includes(flag))
        .map((flag) => `${words}: ${flag}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe('commands of a page', () => {
  /** Of a page: where it records or imports to, and what its other commands read. */
  function capturesOf(page: string): { readonly made: string[]; readonly read: string[] } {
    const commands = blocksOf(page).filter(isShell).flatMap(commandsOf);
    const text = commands.join('\n');
    const made = [
      ...text.matchAll(/reprise record .*?--dir (captures\/[\w-]+)/g),
      ...text.matchAll(/(?:reprise import|export capture) .*?--out (captures\/[\w-]+)/g),
    ].map(([, path = '']) => path);
    const read = [...text.matchAll(/reprise (?:replay|capacity|statement) (captures\/[\w-]+)/g)];
    return { made, read: read.map(([, path = '']) => path) };
  }

  test.each(docPages().filter((page) => page.startsWith('docs/guides') || page.startsWith('docs/start')))(
    'replay what the page recorded, if it records: %s',
    (page) => {
      const { made, read } = capturesOf(page);
      if (made.length > 0 && read.length > 0) expect(made).toEqual(expect.arrayContaining(read));
    },
  );

  test('do not teach to go round the fence for this machine', () => {
    const round = docPages().filter((page) => /allow=(?:127\.|localhost|\[?::1)/.test(pageText(page)));
    expect(round).toEqual([]);
  });
});

describe('numbers of samples', () => {
  test.each(['docs/guides/how-a-run-is-judged.md', 'docs/reference/objectives.md'])('in %s', (page) => {
    const named = [
      ...pageText(page).matchAll(/(?<count>[\d,]+) for p(?<percent>\d+(?:\.\d+)?)\b/g),
      ...pageText(page).matchAll(/(?<count>[\d,]+) for `rate>0\.(?<percent>\d+)`/g),
    ].map(({ groups }) => [Number(groups?.['percent']), Number(groups?.['count']?.replace(',', ''))]);
    const floors = named.filter(([, count = 0]) => ![72, 368].includes(count));
    expect(floors.length).toBeGreaterThan(1);
    for (const [percent = 0, count] of floors)
      expect([percent, sampleFloor(percent)]).toEqual([percent, count]);
  });

  test('an interval of 95 % needs as many as its order statistics', () => {
    expect(pageText('docs/guides/how-a-run-is-judged.md')).toContain('72 for p95, 368 for p99');
    for (const [share, samples] of [
      [0.95, 72],
      [0.99, 368],
    ] as const)
      expect([share ** samples <= 0.025, share ** (samples - 1) <= 0.025]).toEqual([true, false]);
  });
});

test('CHANGELOG.md names the format of captures', () => {
  const named = [...pageText('CHANGELOG.md').matchAll(/Captures (?:have|of) format (\d+)/g)].map(
    ([, format]) => Number(format),
  );
  expect(Math.max(...named)).toBe(FORMAT_VERSION);
});

describe('docs/guides/troubleshooting.md', () => {
  const rows = pageText('docs/guides/troubleshooting.md')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (?:---|you see)/.test(line))
    .map((line) => line.split(' | ')[0] ?? '');
  const known = new Set<string>([
    ...REASON_CODES,
    ...LOSS_REASONS,
    ...OMISSION_CAUSES,
    ...SEND_ERRORS,
    ...SKIP_REASONS,
  ]);

  test('has the frequent symptoms, INCONCLUSIVE first', () => {
    expect(rows.length).toBeGreaterThanOrEqual(15);
    const [first = ''] = pageText('docs/guides/troubleshooting.md').match(/^## .*/m) ?? [];
    expect(first).toContain('INCONCLUSIVE');
  });

  test.each(rows)('%s: is what Reprise shows', (symptom) => {
    const codes = quoted(symptom).filter((word) => /^[a-z]+(?:_[a-z]+)*$/.test(word));
    expect(codes.filter((code) => !known.has(code) && code !== 'capacity')).toEqual([]);
    for (const [, words = ''] of symptom.matchAll(/"([^"]+)"/g)) expect(sources).toContain(words);
  });
});

describe('the map', () => {
  test('CONTRIBUTING.md has the rooms of each floor', () => {
    const floors = rowsBelow('CONTRIBUTING.md', 'Where things go').map(([, rooms = '']) =>
      quoted(rooms).sort(),
    );
    const enforced = FLOORS.filter(([room]) => room !== 'index').map((rooms) => [...rooms].sort());
    expect(floors).toEqual(enforced);
  });

  test('docs/ARCHITECTURE.md has every room', () => {
    const rooms = rowsBelow('docs/ARCHITECTURE.md', 'The house').map(([room = '']) => quoted(room)[0]);
    const folders = readdirSync(at('src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(rooms.sort()).toEqual(folders.map(({ name }) => name).sort());
  });

  test('docs/ARCHITECTURE.md names the files that make a document in a thread', () => {
    const named = pageText('docs/ARCHITECTURE.md')
      .split('\n')
      .flatMap((line) => /^(.*?)read rows once, in a separate thread/.exec(line)?.[1] ?? [])
      .flatMap(quoted);
    const starts = readdirSync(at('src/app'))
      .filter((file) => file.endsWith('.ts') && file !== 'package.ts')
      .filter((file) => readFileSync(at('src/app', file), 'utf8').includes('documentFromThread'));
    expect(named.sort()).toEqual(starts.map((file) => `app/${file}`).sort());
  });
});
