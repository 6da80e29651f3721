import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EncryptionKey } from '../../src/storage/capture/encryption.ts';
import { inspectCapture } from '../../src/storage/capture/inspect.ts';
import { placesOf } from '../support/capture-bytes.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { plainAnswer, rawRequest } from '../support/wire-messages.ts';

const ROWS = 60;

/** A trace of two users in turns, and requests that name nobody. */
function trace(): { readonly trace: string; readonly payloads: string } {
  const directory = temporaryDirectory();
  const at = (index: number) => new Date(Date.UTC(2026, 10, 24, 15, index)).toISOString();
  const rows = Array.from({ length: ROWS }, (_, index) => `${at(index)},${index % 3 === 0 ? 'ada' : 'ben'}`);
  writeFileSync(join(directory, 'trace.csv'), ['at,user', ...rows, ''].join('\n'));
  const bodies = Array.from({ length: 7 }, (_, index) => JSON.stringify({ prompt: `unmistakable ${index}` }));
  writeFileSync(join(directory, 'bodies.jsonl'), `${bodies.join('\n')}\n`);
  return { trace: join(directory, 'trace.csv'), payloads: join(directory, 'bodies.jsonl') };
}

async function reprise(...args: string[]) {
  const { status, stdout, stderr } = await runReprise(args);
  return {
    status,
    stderr,
    document: stdout.startsWith('{') ? (JSON.parse(stdout) as Record<string, unknown>) : null,
  };
}

describe('a capture that was imported encrypted', () => {
  it('is inspected without its key, and replayed, verified and forgotten from with it', async () => {
    const files = trace();
    const directory = join(temporaryDirectory(), 'capture');
    const keyFile = join(temporaryDirectory(), 'key');
    writeFileSync(keyFile, `${randomBytes(32).toString('base64')}\n`);
    const key = EncryptionKey.load(keyFile);
    const withKey = ['--encryption-key-file', keyFile];
    const imported = await reprise(
      ...[
        'import',
        'arrivals',
        files.trace,
        '--time',
        'at',
        '--session-field',
        'user',
        '--client-field',
        'user',
      ],
      ...[
        '--payloads',
        files.payloads,
        '--request-path',
        '/v1/completions',
        '--out',
        directory,
        ...withKey,
        '--json',
      ],
    );
    expect(imported).toMatchObject({ status: 0, document: { exchanges: ROWS } });
    expect(placesOf(directory, 'unmistakable', key).every((place) => place.includes(' block '))).toBe(true);

    const plan = ['replay', directory, '--dry-run', '--json'];
    const [inspected, blind, planned, sound] = await Promise.all([
      reprise('inspect', directory, '--json'),
      reprise(...plan),
      reprise(...plan, ...withKey),
      reprise('verify', directory, '--json', ...withKey),
    ]);
    expect(inspected).toMatchObject({ status: 0, document: { encrypted: { segments: 1, keys: [key.id] } } });
    expect(blind).toMatchObject({ status: 2, stderr: expect.stringContaining('--encryption-key-file') });
    expect(planned).toMatchObject({ status: 0, document: { planned: ROWS, payloads: { sampled: ROWS } } });
    expect(sound).toMatchObject({ status: 0, document: { ok: true, segments: [{ decoded: true }] } });

    const forget = ['forget', directory, '--session-name', 'ada', '--json'];
    const keyless = await reprise(...forget);
    expect(keyless).toMatchObject({ status: 2, stderr: expect.stringContaining('--encryption-key-file') });
    expect(await reprise(...forget, ...withKey, '--dry-run')).toMatchObject({
      document: { exchanges: ROWS / 3 },
    });
    const forgotten = await reprise(...forget, ...withKey);
    expect(forgotten).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('Copies elsewhere'),
      document: { dryRun: false, complete: true, exchanges: ROWS / 3 },
    });
    const [after, still] = await Promise.all([
      reprise('verify', directory, '--json', ...withKey),
      reprise(...plan, ...withKey),
    ]);
    expect(after).toMatchObject({ status: 0, document: { ok: true, exchanges: (ROWS * 2) / 3 } });
    // Not what is planned: what was forgotten is made up for by sessions that are drawn.
    expect(still).toMatchObject({ status: 0, document: { recorded: (ROWS * 2) / 3 } });
  });
});

describe('reprise forget', () => {
  const NOW = '2026-11-24T15:00:00Z';

  it('refuses what cannot be meant: exit 2 and the reason', async () => {
    const directory = captureOf([exchangeOf()]);
    const refusals = await Promise.all(
      [
        [],
        ['--session-name', 'a', '--client-name', 'b'],
        ['--session-name', 'a'],
        ['--client-name', ' '],
        ['--session-hash', 'abc'],
        ['--before', NOW, '--to', NOW],
        ['--from', NOW, '--to', NOW],
      ].map((flags) => reprise('forget', directory, ...flags)),
    );
    expect(refusals.map(({ status }) => status)).toEqual([2, 2, 2, 2, 2, 2, 2]);
    expect(refusals.map(({ stderr }) => stderr.split('\n')[0])).toEqual([
      expect.stringContaining('no session, client or time to forget is given'),
      expect.stringMatching(/--session-name, --session-hash and --client-name /),
      expect.stringContaining(`${directory} has no hash key`),
      expect.stringContaining('is empty'),
      expect.stringContaining('16 hexadecimal digits'),
      expect.stringMatching(/--before .*--from or --to/),
      expect.stringContaining('not after --from'),
    ]);
  });

  it('says with exit 4 what a live recorder still holds, and takes that too once it is sealed', async () => {
    const origin = await new ScriptedOrigin().listen();
    const answer = plainAnswer('{}');
    const body = Buffer.from('{"prompt":"unmistakable"}');
    const head = ['Content-Type: application/json', `Content-Length: ${body.length}`];
    const request = rawRequest('POST', '/v1/completions', head, body);
    origin.expect([{ requestBytes: request.length, answer: [answer], close: true }]);
    const directory = join(temporaryDirectory(), 'capture');
    const recording = await startRecording(origin.port, directory);
    const client = connect({ port: recording.port, host: '127.0.0.1' });
    client.resume().end(request);
    await once(client, 'close');
    const forget = ['forget', directory, '--before', '2100-01-01T00:00:00Z', '--json'];
    const asked = async () => await reprise(...forget);
    // The answer is the client's before its exchange is committed.
    await expect.poll(() => inspectCapture(directory).exchanges, { timeout: 10_000 }).toBe(1);
    const live = await asked();
    expect(live).toMatchObject({
      status: 4,
      document: { complete: false, exchanges: 0, remaining: [{ why: 'open' }] },
    });
    expect((await recording.stop()).status).toBe(0);
    expect(await asked()).toMatchObject({ status: 0, document: { complete: true, exchanges: 1 } });
    expect(placesOf(directory, 'unmistakable')).toEqual([]);
    expect(await reprise('verify', directory, '--json')).toMatchObject({
      status: 0,
      document: { exchanges: 0 },
    });
    origin.close();
  });
});
