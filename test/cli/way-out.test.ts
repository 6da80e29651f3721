import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadHashKey } from '../../src/storage/capture/keys.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf } from '../support/exchanges.ts';
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
  ['selftest with too many senders', ['selftest', '--senders', '99'], /1 to 16/],
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

test('a hash that is none is named', async () => {
  const { stderr } = await runCommand(['forget', capture, '--session-hash', 'zz']);
  expect(stderr).toContain('--session-hash: "zz" is not a hash of 16 hexadecimal digits');
});

test('a hash key that cannot be read is refused with a way out', () => {
  expect(() => loadHashKey(home, join(home, 'none'), null)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('--hash-key-file') }),
  );
});
