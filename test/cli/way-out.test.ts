import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadHashKey } from '../../src/storage/capture/keys.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const home = temporaryDirectory();
const capture = captureOf([exchangeOf()]);
const text = join(home, 'passwd');
const nothing = join(home, 'nothing.csv');
writeFileSync(text, 'root:x:0:0\n');
writeFileSync(nothing, '');
const out = join(home, 'out');

test.each([
  ['import of what is no HAR', ['import', 'har', text, '--out', out], /reprise import --help/],
  ['import of an empty file', ['import', 'arrivals', nothing, '--time', 't', '--out', out], /wrote it/],
  ['replay without a target', ['replay', capture], /--target http.*--dry-run/],
  ['export that needs a target', ['export', 'vegeta', capture, '--out', out], /--target http/],
  ['selftest with too many senders', ['selftest', '--threads', '99'], /1 to 16/],
  ['forget by a hash that is none', ['forget', capture, '--session-hash', 'zz'], /view exchanges/],
  [
    'forget by two ends',
    ['forget', capture, '--before', '2026-01-01T00:00:00Z', '--from', '2025-01-01T00:00:00Z'],
    /--from and --to/,
  ],
  ['compare of what is nothing', ['compare', home, home], /a run .*a capture .*a profile/],
])('%s is refused with a way out', async (_, args, hint) => {
  const { status, stderr } = await runCommand(args);
  expect(status).toBe(2);
  expect(stderr).toMatch(new RegExp(`\\n  hint: .*${hint.source}`));
});

test('a capture of arrivals is answered with flags that its import has', async () => {
  const own = temporaryDirectory();
  const trace = join(own, 'lengths.jsonl');
  const arrivals = join(own, 'arrivals');
  writeFileSync(trace, '{"timestamp": 0, "input_length": 9, "output_length": 5, "hash_ids": [0]}\n');
  expect(await runCommand(['import', 'mooncake', trace, '--out', arrivals])).toMatchObject({ status: 0 });
  const { status, stderr } = await runCommand(['replay', arrivals, '--target', 'http://127.0.0.1:1']);
  expect(status).toBe(2);
  // What it says of another import names that import.
  const named = stderr.replace(/reprise import arrivals --\w+/, '').match(/--[\w-]+/g);
  const { stdout: help } = await runCommand(['import', 'mooncake', '--help-all']);
  expect(named).toEqual(['--build-prompts', '--dry-run']);
  expect(help).toContain('--build-prompts');
  const { stdout: other } = await runCommand(['import', 'arrivals', '--help-all']);
  expect(other).toContain('--payloads');
});

test('a hash that is none is named', async () => {
  const { stderr } = await runCommand(['forget', capture, '--session-hash', 'zz']);
  expect(stderr).toContain('--session-hash: "zz" is not a hash of 16 hexadecimal digits');
});

test('a hash key that cannot be read is refused with a way out', () => {
  expect(() => loadHashKey(home, join(home, 'none'), null)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('--hash-key-file') }),
  );
});

describe('a place that nothing can be written to', () => {
  const arrivals = ['import', 'arrivals', join(home, 'times.csv'), '--time', 't', '--unit', 's'];
  writeFileSync(join(home, 'times.csv'), 't\n1\n2\n');
  const before = readdirSync(home);
  let server: RequestLogServer;
  beforeAll(async () => {
    server = await new RequestLogServer().listen();
  });
  afterAll(async () => {
    expect(server.requests).toHaveLength(0);
    await server.close();
  });

  const commands: Record<string, (path: string) => string[]> = {
    'replay --out': (path) => ['replay', capture, '--target', server.url, '-o', path],
    'replay --ci-report': (path) => [
      'replay',
      capture,
      '--target',
      server.url,
      '-o',
      out,
      '--ci-report',
      `junit=${path}`,
    ],
    'replay --history': (path) => ['replay', capture, '--target', server.url, '-o', out, '--history', path],
    'capacity --out': (path) => [
      'capacity',
      capture,
      '--target',
      server.url,
      '--slo',
      'latency: p(50)<500',
      '-o',
      path,
    ],
    'capacity --html': (path) => [
      'capacity',
      capture,
      '--target',
      server.url,
      '--slo',
      'latency: p(50)<500',
      '-o',
      out,
      '--html',
      path,
    ],
    'import --out': (path) => [...arrivals, '-o', path],
    'export csv --out': (path) => ['export', 'csv', capture, '-o', path],
    'export k6 --out': (path) => ['export', 'k6', capture, '--target', 'http://model:1', '-o', path],
    'profile --html': (path) => ['profile', capture, '--html', path],
    'profile --csv': (path) => ['profile', capture, '--csv', path],
  };
  // The first made Node's own recursive mkdir go on for ever.
  const places = ['/proc/x', '/proc/x/y', '/dev/null/x', '/sys/x', join(text, 'x')];

  test.each(Object.keys(commands))('is named by %s, with a way out and nothing left behind', async (name) => {
    for (const place of places) {
      const { status, stderr } = await runCommand((commands[name] as (path: string) => string[])(place));
      expect({ status, stderr }, place).toMatchObject({ status: 2 });
      expect(stderr).toContain(place);
      expect(stderr).toMatch(/\n {2}hint: \S/);
    }
    expect(readdirSync(home)).toEqual(before);
  });

  test('can be a file where a directory is to be', async () => {
    for (const name of ['replay --out', 'capacity --out', 'import --out', 'export k6 --out']) {
      const { status, stderr } = await runCommand((commands[name] as (path: string) => string[])(text));
      expect({ status, named: stderr.includes(text) }, name).toEqual({ status: 2, named: true });
    }
  });
});
