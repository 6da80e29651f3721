import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { HpackDecoder } from '../../src/http2/hpack.ts';
import { repeated } from '../support/long-form.ts';
import { pythonWith } from '../support/peer-tools.ts';

const python = pythonWith(['hpack==4.2.0']);
const program = fileURLToPath(new URL('./programs/hpack_lists.py', import.meta.url));
const CONNECTIONS = repeated(200, 1_000);
const LISTS = 100;

const reason = 'missing' in python ? ` (${python.missing})` : '';

test.skipIf(reason !== '')(`header lists with any bytes, as python-hpack encodes them${reason}`, () => {
  const { path } = python as { readonly path: string };
  const args = [program, '7', `${CONNECTIONS}`, `${LISTS}`];
  const { stdout, stderr } = spawnSync(path, args, { encoding: 'utf8', maxBuffer: 1 << 30 });
  expect(stderr).toBe('');
  const lines = stdout.trim().split('\n');
  for (const [connection, line] of lines.entries()) {
    const decoder = new HpackDecoder();
    decoder.allowTable(LIMITS.headerTableBytes);
    const cases = JSON.parse(line) as { readonly wire: string; readonly fields: readonly string[] }[];
    for (const [at, { wire, fields }] of cases.entries()) {
      const wanted = fields.map((part) => Buffer.from(part, 'hex').toString('latin1'));
      expect({ connection, at, fields: decoder.decode(Buffer.from(wire, 'hex')) }).toEqual({
        connection,
        at,
        fields: wanted,
      });
    }
    expect(cases).toHaveLength(LISTS);
  }
  expect(lines).toHaveLength(CONNECTIONS);
});
