import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type InstalledPackage, packAndInstall } from '../support/packed-tarball.ts';
import { RunningProcess, runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let installed: InstalledPackage;

beforeAll(async () => {
  installed = await packAndInstall(temporaryDirectory());
});

/** The relative links of a page, without what they point to within a page. */
function linksOf(markdown: string): string[] {
  return [...markdown.matchAll(/\]\((?<link>[^)#\s]+)/g)]
    .map((match) => (match.groups?.['link'] ?? '').replace(/\/$/, ''))
    .filter((link) => !/^[a-z]+:/.test(link));
}

async function reprise(...args: string[]) {
  return await runProcess(process.execPath, [installed.bin, ...args], { cwd: installed.project });
}

describe('the tarball', () => {
  test('holds the build, the command and what a user reads, and nothing else', () => {
    const top = new Set(installed.files.map((file) => file.split('/')[0]));
    expect([...top].sort()).toEqual([
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'bench',
      'bin',
      'deploy',
      'dist',
      'docs',
      'package.json',
    ]);
    const bench = installed.files.filter((file) => file.startsWith('bench/')).sort();
    expect(bench).toEqual(['bench/README.md']);
    expect(installed.files.filter((file) => file.startsWith('bin/'))).toEqual(['bin/reprise.js']);
    // Beside the build: programs in Python, and the styles that pages contain.
    const others = installed.files.filter((file) => /^dist\//.test(file) && !/\.(?:js|d\.ts)$/.test(file));
    expect(others.sort()).toEqual([
      'dist/analysis/render/browser/live.css',
      'dist/analysis/render/browser/page.css',
      'dist/formats/programs/locustfile.py',
      'dist/trackers/programs/offline_tracker.py',
    ]);
  });

  test('has whatever its pages point to', () => {
    const pages = installed.files.filter((file) => file.endsWith('.md'));
    expect(pages.length).toBeGreaterThan(20);
    const dead = pages.flatMap((page) =>
      linksOf(readFileSync(join(repositoryRoot, page), 'utf8'))
        .map((link) => join(dirname(page), link))
        .filter((path) => !installed.files.some((file) => file === path || file.startsWith(`${path}/`)))
        .map((path) => `${page}: ${path}`),
    );
    expect(dead).toEqual([]);
  });

  test('carries every process and thread of its own, beside the commands', () => {
    const entries = readdirSync(join(repositoryRoot, 'src', 'cli', 'workers'));
    expect(entries.length).toBeGreaterThanOrEqual(5);
    for (const entry of entries) {
      expect(installed.files).toContain(`dist/cli/workers/${entry.replace(/\.ts$/, '.js')}`);
    }
  });
});

describe('the installed package', () => {
  test('prints its version and its help', async () => {
    expect(await reprise('--version')).toMatchObject({ status: 0, stderr: '' });
    expect(await reprise('--help')).toMatchObject({ status: 0, stderr: '' });
  });

  test.each([['record'], ['inspect'], ['replay'], ['import']])('explains %s', async (command) => {
    const { status, stdout, stderr } = await reprise(command, '--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`Usage: reprise ${command}`);
  });

  test('can be imported by its name, with declarations beside it', async () => {
    const script =
      "import * as reprise from '@reprise-load/reprise'; console.log(typeof reprise.CaptureReader);";
    writeFileSync(join(installed.project, 'use.mjs'), script);
    expect(await runProcess(process.execPath, [join(installed.project, 'use.mjs')])).toMatchObject({
      status: 0,
      stdout: 'function\n',
      stderr: '',
    });
    expect(installed.files).toContain('dist/index.d.ts');
  });
});

/** A way in which a user has the command. */
interface Installation {
  readonly how: string;
  /** Installs it. @returns the start of each command line */
  readonly install: () => Promise<readonly [command: string, ...args: string[]]>;
  /** npx stands between a signal and the command, so it starts no recorder. */
  readonly records: boolean;
}

/** A prefix, a cache and a folder of npm that hold nothing else. */
const clean = temporaryDirectory();
const environment = {
  npm_config_prefix: join(clean, 'prefix'),
  npm_config_cache: join(clean, 'cache'),
  PATH: [join(clean, 'prefix', 'bin'), dirname(process.execPath), process.env['PATH']].join(delimiter),
};
const offline = spawnSync('npm', ['ping'], { timeout: 30_000 }).status === 0 ? '' : 'no registry of npm';

const INSTALLATIONS: readonly Installation[] = [
  {
    how: 'below a project',
    install: async () => [process.execPath, installed.bin],
    records: true,
  },
  {
    how: 'on the PATH, by npm install --global',
    install: async () => {
      const args = ['install', '--global', '--no-audit', '--no-fund', installed.tarball];
      expect(await runProcess('npm', args, { cwd: clean, env: environment })).toMatchObject({ status: 0 });
      return ['reprise'];
    },
    records: true,
  },
  {
    how: 'by npx',
    install: async () => ['npx', '--yes', '--package', installed.tarball, '--', 'reprise'],
    records: false,
  },
];

describe.each(INSTALLATIONS)('the package $how', ({ how, install, records }) => {
  const targets: string[] = [];
  const server = createServer((incoming, response) => {
    targets.push(`${incoming.method} ${incoming.url}`);
    incoming.resume().on('end', () => response.end('{"outputs":[]}'));
  });
  let origin = '';

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  test('records, inspects and replays', async ({ skip }) => {
    if (offline !== '' && how !== 'below a project') return skip(offline);
    const folder = temporaryDirectory();
    const options = { cwd: folder, env: environment };
    const [command, ...start] = await install();
    const run = async (...args: string[]) => await runProcess(command, [...start, ...args], options);

    const capture = join(folder, 'capture');
    const [recording, ...recordingStart] = records ? [command, ...start] : [process.execPath, installed.bin];
    const recorder = new RunningProcess(
      recording as string,
      [
        ...recordingStart,
        ...[
          'record',
          '--target',
          origin,
          '--listen',
          '127.0.0.1:0',
          '--dir',
          capture,
          '--log-format',
          'json',
        ],
      ],
      options,
    );
    const [, listen = ''] = await recorder.waitFor('stderr', /"listen":"([^"]+)"/);
    for (let index = 0; index < 5; index += 1)
      await post(`http://${listen}/v2/models/m/infer`, '{"inputs":[]}');
    expect(await recorder.kill('SIGTERM')).toMatchObject({ status: 0, stdout: '' });

    const inspected = await run('inspect', capture, '--json');
    expect(inspected).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(inspected.stdout)).toMatchObject({ exchanges: 5, outcomes: { completed: 5 } });

    const options2x = ['--target', origin, '--multiplier', '2', '--out', join(folder, 'run'), '--json'];
    const replayed = await run('replay', capture, ...options2x);
    // 4 where this machine was too busy to be on time: the run says so, and it was sent all the same.
    expect([0, 4]).toContain(replayed.status);
    expect(JSON.parse(replayed.stdout)).toMatchObject({ planned: 5, sent: 5, completed: 5, verdict: null });
    expect(targets).toEqual(Array.from({ length: 10 }, () => 'POST /v2/models/m/infer'));
  });
});

async function post(url: string, body: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const sent = request(
      url,
      { method: 'POST', headers: { 'content-type': 'application/json' } },
      (response) => {
        response.resume().on('end', resolve);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
