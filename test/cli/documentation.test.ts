import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { commandsPage } from '../../scripts/commands-page.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { EXIT } from '../../src/cli/exit.ts';
import { bareProgram, everyCommand } from '../../src/cli/program.ts';
import { metricsOf } from '../../src/proxy/control/metrics.ts';
import { relayMetricsOf } from '../../src/proxy/faults/control-api.ts';
import { FaultRelay } from '../../src/proxy/faults/relay.ts';
import { RunInstruments } from '../../src/telemetry/instruments.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { someStatus } from '../support/some-status.ts';

const FOLDERS = [
  '.',
  'docs',
  'docs/start',
  'docs/guides',
  'docs/reference',
  'docs/adr',
  'bench',
  'deploy',
  'fixtures',
];
const pages = FOLDERS.flatMap((folder) =>
  readdirSync(join(repositoryRoot, folder))
    .filter((file) => file.endsWith('.md'))
    .map((file) => join(folder, file)),
);

function textOf(page: string): string {
  return readFileSync(join(repositoryRoot, page), 'utf8');
}

function longFlagsOf(command: Command): string[] {
  return [
    ...command.options.flatMap(({ flags }) => flagsIn(flags)),
    ...command.commands.flatMap(longFlagsOf),
  ];
}

function flagsIn(text: string): string[] {
  return text.match(/(?<![\w-])--[a-z][a-z0-9-]+/g) ?? [];
}

/** Flags in command lines of other programs: npm run, kubectl, docker, uvicorn, tritonserver, KServe, Locust, AIPerf. */
const FLAGS_OF_OTHERS = new Set(
  `--breaking-point --statement --executors --base-ms --per-kib-us --token-ms --monitors --only --help --help-all --version --from-literal --from-file --type --headless --master
   --web --data-urlencode
   --expect-workers --exit-code-on-error --isl-block-size --tokenizer --port --no-access-log --build-arg --proxy-headers --model-repository
   --forwarded-allow-ips --http --http-port --grpc-port --import-offline-session --global --silent --certificate-oidc-issuer --certificate-identity
   --py-files --shards --cpus --lead --summary-export --new-machine-readable-summary --reprise --address --working-dir
   --enable-prompt-tokens-details --enable-cache-report`.split(/\s+/),
);

/** The anchors of a page, as GitHub makes them of its headings. */
function anchorsOf(text: string): Set<string> {
  const headings = text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

test('docs/reference/commands.md has every command and flag of the source', async () => {
  expect(textOf('docs/reference/commands.md') === (await commandsPage()), 'run: npm run commands-page').toBe(
    true,
  );
});

test('docs/reference/exit-codes.md names every exit status', () => {
  const stated = textOf('docs/reference/exit-codes.md').matchAll(/^\| ([\d, ]+?) *\|/gm);
  const statuses = [...stated].flatMap(([, numbers = '']) => numbers.split(',').map(Number));
  expect(statuses).toEqual(Object.values(EXIT));
});

describe('a page of the documentation', () => {
  test.each(pages)('links only to pages and headings that there are: %s', (page) => {
    const text = textOf(page).replaceAll(/^```[\s\S]*?^```/gm, '');
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const broken = targets.filter((target) => {
      if (/^[a-z]+:/.test(target)) return false;
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? page : join(dirname(page), file);
      if (!existsSync(join(repositoryRoot, path))) return true;
      return anchor !== undefined && !anchorsOf(textOf(path)).has(anchor);
    });
    expect(broken).toEqual([]);
  });

  test('names only flags that a command has', async () => {
    const known = new Set([...(await everyCommand(COMMANDS)), bareProgram()].flatMap(longFlagsOf));
    const unknown = pages
      .filter((page) => !/^(?:CHANGELOG|CONTRIBUTING|bench|fixtures|docs\/adr)/.test(page))
      .flatMap((page) => flagsIn(textOf(page)).map((flag) => ({ page, flag })))
      .filter(({ flag }) => !known.has(flag) && !FLAGS_OF_OTHERS.has(flag));
    expect(unknown).toEqual([]);
  });

  test.each(pages)('names only metrics that a scrape has: %s', async (page) => {
    const relay = { proxies: [], seed: 1, maxConnections: 1, maxFaults: 1, tls: null, upstreamTls: null };
    const faults = await relayMetricsOf(new FaultRelay(relay, () => undefined));
    const scraped = `${await metricsOf(someStatus())}${faults}`;
    const known = new Set([...scraped.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
    expect(known.size).toBeGreaterThan(30);
    for (const { prometheus } of new RunInstruments().collect()) known.add(prometheus);
    const text = textOf(page);
    expect(
      [...text.matchAll(/\breprise_\w+/g)].map(([name]) => name).filter((name) => !known.has(name)),
    ).toEqual([]);
  });

  test('names only source files that exist: docs/ARCHITECTURE.md', () => {
    const text = textOf('docs/ARCHITECTURE.md');
    const named = [...text.matchAll(/`((?:[a-z-]+\/)+[a-z0-9-]+\.ts)`/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(15);
    expect(named.filter((path) => !existsSync(join(repositoryRoot, 'src', path)))).toEqual([]);
  });
});

test('each line of what can go wrong names tests that are there', () => {
  const page = textOf('docs/guides/what-can-go-wrong.md');
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

test('README.md is short, has pictures, and names tests that are there', () => {
  const text = textOf('README.md');
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(9_000);
  expect(text.match(/^!\[[^\]]+\]\(docs\/images\/[\w-]+\.(?:png|svg)\)$/gm)?.length).toBeGreaterThanOrEqual(
    4,
  );
  const named = [...text.matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((path) => !existsSync(join(repositoryRoot, path)))).toEqual([]);
});
