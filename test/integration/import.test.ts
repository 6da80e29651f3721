import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ExchangeRow } from '../../src/core/exchange.ts';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { readMeta } from '../../src/storage/capture/schema.ts';
import { openForReading } from '../../src/storage/capture/sqlite.ts';
import { azureArrivalsUs, azureTracePath, countDispersion, gapVariation } from '../support/azure-trace.ts';
import { runCommand } from '../support/command-here.ts';
import { type Finished, runProcess } from '../support/process.ts';
import { fixtureData, repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

function importArrivals(...args: readonly string[]): Promise<Finished> {
  return runCommand(['import', 'arrivals', ...args]);
}

/** Rows of a capture in the order a reader gives them, and the digest of each one's request body. */
function readBack(directory: string): { rows: ExchangeRow[]; bodies: (string | null)[]; heads: string[] } {
  const reader = new CaptureReader(directory);
  try {
    const rows = [...reader.rows()];
    const payloads = rows.map((row) => reader.payload(row)?.request ?? null);
    return {
      rows,
      bodies: payloads.map((request) => request && Buffer.from(request.body.kept ?? []).toString('base64')),
      heads: payloads.map((request) => Buffer.from(request?.head ?? []).toString('latin1')),
    };
  } finally {
    reader.close();
  }
}

/** What the first segment of a capture says of where it comes from. */
function originOf(directory: string): unknown {
  const file = readdirSync(directory).find((name) => name.endsWith('.sqlite'))!;
  const connection = openForReading(join(directory, file));
  try {
    return readMeta(connection, file).origin;
  } finally {
    connection.close();
  }
}

function trace(content: string | Buffer): { folder: string; file: string; out: string } {
  const folder = temporaryDirectory();
  const file = join(folder, 'trace.csv');
  writeFileSync(file, content);
  return { folder, file, out: join(folder, 'capture') };
}

describe('what a trace of arrivals does not say', () => {
  test('is not known to inspect: how exchanges ended, and how large they were', async () => {
    const { file, out } = trace('t\n1\n2\n2.5\n');
    await importArrivals(file, '--time', 't', '--unit', 's', '--out', out);
    const { stdout } = await runCommand(['inspect', out, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      exchanges: 3,
      outcomes: { completed: null, client_aborted: null, upstream_failed: null, timed_out: null, unknown: 3 },
      bytes: { request: null, response: null },
      days: [{ exchanges: 3, bytes: null }],
      losses: { exchanges: 0, exact: false, uncountedAtMost: null },
      coverage: null,
    });
    expect(readBack(out).rows.map(({ outcome, responseBytes }) => [outcome, responseBytes])).toEqual(
      Array.from({ length: 3 }, () => [null, null]),
    );
    expect((await runCommand(['verify', out])).status).toBe(0);
    const profile = JSON.parse((await runCommand(['profile', out, '--json'])).stdout);
    expect(profile.mix.outcomes).toEqual({
      completed: null,
      client_aborted: null,
      upstream_failed: null,
      timed_out: null,
    });
    expect(profile.errors.failed).toBeNull();
    expect(profile.losses).toMatchObject({ exchanges: 0, exact: false });
    const { stdout: text } = await runCommand(['profile', out]);
    expect(text).toMatch(/^\s*not known +– +–/m);
  });

  test('stays unknown beside requests that it is paired with, and no arrival counts as failed', async () => {
    const { folder, file, out } = trace('t\n1\n2\n');
    writeFileSync(join(folder, 'bodies.jsonl'), '{"a":1}\n');
    const pairing = ['--payloads', join(folder, 'bodies.jsonl'), '--request-path', '/v1/embeddings'];
    await importArrivals(file, '--time', 't', '--unit', 's', '--out', out, ...pairing);
    const inspected = JSON.parse((await runCommand(['inspect', out, '--json'])).stdout);
    expect(inspected).toMatchObject({
      outcomes: { completed: null, unknown: 2 },
      bytes: { request: 14, response: null },
    });
    const reader = new CaptureReader(out);
    expect([...reader.rollUps()].map(({ failed }) => failed)).toEqual([0, 0]);
    reader.close();
    const planned = await runCommand([
      'replay',
      out,
      '--target',
      'http://127.0.0.1:9',
      '--dry-run',
      '--json',
    ]);
    expect(JSON.parse(planned.stdout)).toMatchObject({
      planned: 2,
      skipped: { incomplete_request: 0, no_payload: 0 },
    });
  });
});

describe('the Azure conversation hour', () => {
  test('comes back with the same arrivals, hence the same CV and IDC bit for bit', async () => {
    const out = join(temporaryDirectory(), 'capture');
    const done = await importArrivals(azureTracePath, '--time', 'TIMESTAMP', '--out', out, '--json');
    expect(done).toMatchObject({ status: 0, stderr: '' });
    const before = azureArrivalsUs();
    const after = readBack(out).rows.map((row) => row.arrivalUs);
    expect(after).toEqual(before);
    expect(after).toHaveLength(19_366);
    expect(gapVariation(after)).toBe(gapVariation(before));
    expect(gapVariation(after)).toBeCloseTo(1.094, 3);
    for (const [windowS, dispersion] of [
      [1, 1.385],
      [60, 16.128],
    ] as const) {
      expect(countDispersion(after, windowS)).toBe(countDispersion(before, windowS));
      expect(countDispersion(after, windowS)).toBeCloseTo(dispersion, 3);
    }
    expect(JSON.parse(done.stdout)).toMatchObject({
      schemaVersion: 1,
      exchanges: 19_366,
      firstArrival: '2023-11-16T18:15:46.680590Z',
      lastArrival: '2023-11-16T19:14:08.402527Z',
      outOfOrder: 0,
      segments: 2,
      paired: false,
      payloads: null,
      seed: null,
    });
  });
});

describe('a small trace', () => {
  test('keeps ties, order within ties and rows that go back in time', async () => {
    const { file, out } = trace('t,c\n5,a\n5,b\n3,c\n3,a\n9,b\n5,c\n');
    const done = await importArrivals(
      file,
      '--time=t',
      '--unit=s',
      '--client-field=c',
      '--session-field=c',
      `--out=${out}`,
    );
    expect(done.status).toBe(0);
    expect(done.stderr).toContain('2 rows arrive before the row above them');
    expect(done.stderr).toContain('--origin');
    const { rows } = readBack(out);
    expect(rows.map((row) => row.arrivalUs / 1e6)).toEqual([3, 3, 5, 5, 5, 9]);
    const name = (bytes: Uint8Array | null): string => Buffer.from(bytes!).toString('hex');
    const [c, a, a2, b, c2, b2] = rows.map((row) => name(row.client));
    expect([a2, b2, c2]).toEqual([a, b, c]);
    expect(new Set([a, b, c, ...rows.map((row) => name(row.session))]).size).toBe(6);
  });

  test('is kept private, sealed, and says of itself what it is and what is missing', async () => {
    const { file, out } = trace('dt\n0\n3600000\n');
    const done = await importArrivals(
      ...[file, '--time=dt', '--unit=ms', '--gaps', '--origin=2026-11-20T10:59:59Z', `--out=${out}`],
    );
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout).toContain('Imported 2 arrivals');
    expect(done.stdout).toContain('2026-11-20T10:59:59.000000Z to 2026-11-20T11:59:59.000000Z');
    expect(statSync(out).mode & 0o777).toBe(0o700);
    const files = readdirSync(out).sort();
    expect(files.filter((name) => name.endsWith('.sqlite'))).toHaveLength(2);
    expect(files.filter((name) => name.endsWith('.manifest.json'))).toHaveLength(2);
    expect(originOf(out)).toEqual({
      kind: 'imported',
      file: 'trace.csv',
      paired: false,
      details: {
        time: { field: 'dt', unit: 'ms', gaps: true, originUs: Date.parse('2026-11-20T10:59:59Z') * 1000 },
        client: null,
        session: null,
        payloads: null,
        builtPrompts: null,
        missing: ['requests', 'responses', 'statuses', 'latencies', 'outcomes', 'connections'],
      },
    });
  });

  test('of clients hashes them alike under the same key file, and apart under keys of their own', async () => {
    const { folder, file } = trace('t,c\n1,ann\n');
    const keyFile = join(folder, 'key');
    writeFileSync(keyFile, Buffer.alloc(32, 1));
    const clients: string[] = [];
    for (const [name, ...key] of [
      ['a', '--hash-key-file', keyFile],
      ['b', '--hash-key-file', keyFile],
      ['c'],
      ['d'],
    ]) {
      const out = join(folder, name!);
      const flags = ['--time=t', '--unit=s', '--client-field=c', `--out=${out}`, ...key];
      expect((await importArrivals(file, ...flags)).status).toBe(0);
      clients.push(Buffer.from(readBack(out).rows[0]!.client!).toString('hex'));
    }
    expect(clients[0]).toBe(clients[1]);
    expect(new Set(clients).size).toBe(3);
    expect(readdirSync(join(folder, 'a'))).not.toContain('hash.key');
  });
});

describe('payloads', () => {
  const prompts = fixtureData('arena-hard-prompts/chat_completions.jsonl.gz');
  const rows = Array.from({ length: 400 }, (_, row) => row).join('\n');

  test('are paired by seed: the same again for the same, another for another', async () => {
    const { folder, file } = trace(`t\n${rows}\n`);
    const read: string[] = [];
    for (const [name, seed] of [
      ['a', '1'],
      ['b', '1'],
      ['c', '2'],
    ] as const) {
      const out = join(folder, name);
      const flags = ['--payloads', prompts, '--request-path=/v1/chat/completions', `--seed=${seed}`];
      const done = await importArrivals(file, '--time=t', '--unit=ms', `--out=${out}`, '--json', ...flags);
      expect(JSON.parse(done.stdout)).toMatchObject({
        paired: true,
        payloads: { requests: 300 },
        seed: Number(seed),
      });
      const { bodies, heads } = readBack(out);
      expect(new Set(heads.map((head) => head.split('\r\n')[0]))).toEqual(
        new Set(['POST /v1/chat/completions HTTP/1.1']),
      );
      expect(originOf(out)).toMatchObject({
        paired: true,
        details: {
          payloads: { source: 'chat_completions.jsonl.gz', requests: 300, seed: Number(seed) },
          missing: ['responses', 'statuses', 'latencies', 'outcomes', 'connections'],
        },
      });
      read.push(JSON.stringify(bodies));
    }
    expect(read[0]).toBe(read[1]);
    expect(read[0]).not.toBe(read[2]);
  });

  test('of a folder come back byte for byte, and files that are none are named', async () => {
    const folder = fixtureData('made-here-binary-bodies');
    const { file, out } = trace(`t\n${rows}\n`);
    const done = await importArrivals(file, '--time=t', '--unit=ms', `--out=${out}`, '--payloads', folder);
    expect(done.status).toBe(0);
    expect(done.stderr).toContain('SOURCE.md');
    const known = readdirSync(folder)
      .filter((name) => name.endsWith('.http') && name !== 'chunked-json.http')
      .map((name) => readFileSync(join(folder, name)).toString('base64'));
    const { heads, bodies, rows: read } = readBack(out);
    const messages = new Set(
      heads.map((head, index) =>
        Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(bodies[index]!, 'base64')]).toString(
          'base64',
        ),
      ),
    );
    for (const message of known) expect(messages.has(message)).toBe(true);
    expect(messages.size).toBe(known.length + 1);
    expect(read.every((row) => row.requestStored)).toBe(true);
  });
});

describe('an import that fails exits 2, says why, and leaves nothing behind', () => {
  test.each([
    ['a malformed line', 't\n1\nx\n', ['--unit=ms'], /trace\.csv, line 3: "x" is not a number/],
    ['an empty file', '', ['--unit=ms'], /trace\.csv: the file is empty/],
    ['a gzip cut short', gzipSync('t\n1\n2\n').subarray(0, -6), ['--unit=ms'], /the gzip data end too early/],
    ['a unit that is none', 't\n1\n', ['--unit=h'], /--unit: "h" is none of/],
    ['a payload file that is not there', 't\n1\n', ['--unit=ms', '--payloads=none'], /none: cannot be read/],
    ['a key file that is not there', 't\n1\n', ['--unit=ms', '--hash-key-file=none'], /none cannot be read/],
  ])('for %s', async (_title, content, flags, message) => {
    const { folder, file, out } = trace(content);
    const done = await importArrivals(file, '--time=t', `--out=${out}`, ...flags);
    expect(done.status).toBe(2);
    expect(done.stdout).toBe('');
    expect(done.stderr).toMatch(message);
    expect(readdirSync(folder)).toEqual(['trace.csv']);
  });

  test('where the directories above its place were missing too, which a good file gets made', async () => {
    const { folder, file } = trace('t\n1\nx\n');
    const out = join(folder, 'captures', 'azure');
    expect((await importArrivals(file, '--time=t', '--unit=s', `--out=${out}`)).stderr).toContain('line 3');
    expect(readdirSync(folder)).toEqual(['trace.csv']);
    writeFileSync(file, 't\n1\n2\n');
    const done = await importArrivals(file, '--time=t', '--unit=s', `--out=${out}`);
    expect(done, done.stderr).toMatchObject({ status: 0 });
    expect(readBack(out).rows).toHaveLength(2);
  });

  test('also after thousands of rows were written', async () => {
    const { folder, file, out } = trace(`t\n${'1\n'.repeat(60_000)}oops\n`);
    const done = await importArrivals(file, '--time=t', '--unit=s', `--out=${out}`);
    expect(done.status).toBe(2);
    expect(done.stderr).toContain('line 60002: "oops" is not a number');
    expect(readdirSync(folder)).toEqual(['trace.csv']);
  });

  test('for a disk that takes no more, played by a limit on the size of files', async () => {
    const { folder, file, out } = trace(`t\n${Array.from({ length: 20_000 }, (_, row) => row).join('\n')}\n`);
    const command = [
      join(repositoryRoot, 'bin', 'reprise.js'),
      'import',
      'arrivals',
      file,
      '--time=t',
      '--unit=ms',
    ];
    const limited = ['-c', 'ulimit -f 400; exec "$@"', 'bash', process.execPath, ...command, `--out=${out}`];
    const done = await runProcess('bash', limited);
    expect(done.status).toBe(2);
    expect(done.stderr).toContain(`${out} cannot be written`);
    expect(readdirSync(folder)).toEqual(['trace.csv']);
  });

  test('for a directory that is in use, which is left as it is', async () => {
    const { folder, file } = trace('t\n1\n');
    const done = await importArrivals(file, '--time=t', '--unit=s', `--out=${folder}`);
    expect(done.status).toBe(2);
    expect(done.stderr).toContain('is not empty');
    expect(readdirSync(folder)).toEqual(['trace.csv']);
  });
});
