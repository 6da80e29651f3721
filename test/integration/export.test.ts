import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { arrivalAlone, TEST_EPOCH_US } from '../support/exchanges.ts';
import { exported, jsonLines, numberedCapture } from '../support/export-scene.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const capture = numberedCapture(60);

describe('reprise export', () => {
  test('writes what a replay would plan: window, filter, scaling, copies that are somebody else', async () => {
    const flags = ['--window', '2026-11-24T15:00:00.1Z..', '--filter', 'status=200', '--multiplier', '2'];
    const { out, document } = await exported('locust', capture, ...flags, '--scaling', 'amplify,jitter=20ms');
    const plan = await runCommand([
      'replay',
      capture,
      '--dry-run',
      '--json',
      ...flags,
      '--scaling',
      'amplify,jitter=20ms',
    ]);
    const planned = JSON.parse(plan.stdout) as { planned: number; selected: number };
    expect(document).toMatchObject({ exported: planned.planned, recorded: planned.selected });
    const rows = jsonLines<{ i: number; t: number; h: [string, string][] }>(join(out, 'requests.jsonl'));
    expect(rows.map(({ i }) => i)).toEqual(Array.from({ length: planned.planned }, (_, i) => i));
    expect(rows.map(({ t }) => t)).toEqual(rows.map(({ t }) => t).sort((a, b) => a - b));
    const copies = rows.filter(({ h }) => h.some(([name]) => name === 'x-reprise-copy'));
    expect(copies).toHaveLength(planned.planned / 2);
    expect(readdirSync(out).sort()).toEqual(['locustfile.py', 'requests.jsonl']);
    expect(statSync(out).mode & 0o777).toBe(0o700);
  });

  test('says in words what the format cannot carry and what this export lost', async () => {
    const out = join(temporaryDirectory(), 'a.jsonl');
    const { status, stdout, stderr } = await runCommand(['export', 'mooncake', capture, '--out', out]);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/Exported 54 requests of 60 exchanges/);
    expect(stdout).toMatch(/mooncake cannot carry\n {2}method, path/);
    expect(stdout).toMatch(/6 with no body that is a JSON object/);
  });

  test('counts as exported what lies in the file, not what the format left out', async () => {
    const { out, document } = await exported('mooncake', capture);
    expect(jsonLines(out)).toHaveLength(54);
    expect(document).toMatchObject({ recorded: 60, exported: 54 });
    const left = join(temporaryDirectory(), 'none.jsonl');
    const none = await runCommand([
      'export',
      'mooncake',
      capture,
      '--out',
      left,
      '--filter',
      'model=m',
      '--max-requests',
      '1',
      '--window',
      '2026-11-24T15:00:00.09Z..',
    ]);
    expect(none.status).toBe(2);
    expect(none.stderr).toMatch(/None of 1 requests fits mooncake: no body that is a JSON object.* 1\n/);
    expect(existsSync(left)).toBe(false);
  });

  test.each([
    [
      'an option of another format',
      ['csv', '--target', 'http://a', '--pacing', 'rate'],
      /--target works with .*, not with csv\n--pacing works with k6, not with csv/,
    ],
    [
      'the host that was recorded',
      ['locust', '--target', 'http://model.internal:1'],
      /must not hit production/,
    ],
    ['a filter that leaves nothing', ['csv', '--filter', 'method=PUT'], /PUT/],
  ])('refuses %s, and leaves nothing behind', async (_, [format = '', ...flags], reason) => {
    const out = join(temporaryDirectory(), 'out');
    const { status, stderr } = await runCommand(['export', format, capture, '--out', out, ...flags]);
    expect(status).toBe(2);
    expect(stderr).toMatch(reason);
    expect(readdirSync(dirname(out))).toEqual([]);
  });

  test('never takes the place of what is there', async () => {
    const out = join(temporaryDirectory(), 'mine.csv');
    writeFileSync(out, 'mine');
    const { status, stderr } = await runCommand(['export', 'csv', capture, '--out', out]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/is there already/);
    expect(readFileSync(out, 'utf8')).toBe('mine');
    expect(readdirSync(dirname(out))).toEqual(['mine.csv']);
  });

  test('makes a table of arrivals alone, and refuses to make requests of them', async () => {
    const alone = captureOf([arrivalAlone(TEST_EPOCH_US), arrivalAlone(TEST_EPOCH_US + 5)], {
      origin: { kind: 'imported', file: 'trace.csv', paired: false, details: {} },
    });
    const { document } = await exported('parquet', alone);
    expect(document.exported).toBe(2);
    const out = join(temporaryDirectory(), 'out');
    const { status, stderr } = await runCommand(['export', 'k6', alone, '--out', out]);
    expect(status, stderr).toBe(2);
    expect(existsSync(out)).toBe(false);
  });
});

test('a HAR goes there and back through the command line, and a broken one leaves nothing', async () => {
  const { out: archive } = await exported('har', capture);
  const home = temporaryDirectory();
  const there = join(home, 'capture');
  const { status, stdout, stderr } = await runCommand([
    'import',
    'har',
    archive,
    '--out',
    there,
    '--bodies',
    'all',
    '--json',
  ]);
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ exchanges: 60, format: 'har', lacking: {} });
  const again = await exported('har', there);
  expect(readFileSync(again.out, 'utf8')).toBe(readFileSync(archive, 'utf8'));
  const broken = join(home, 'broken.har');
  writeFileSync(broken, readFileSync(archive).subarray(0, 5_000));
  const refused = await runCommand(['import', 'har', broken, '--out', join(home, 'no')]);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toMatch(/broken\.har: the file ends within entry/);
  expect(readdirSync(home).sort()).toEqual(['broken.har', 'capture']);
});
