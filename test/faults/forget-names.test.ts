import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { placesOf } from '../support/capture-bytes.ts';
import { runCommand } from '../support/command-here.ts';
import { startRecording } from '../support/recording.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { plainAnswer, rawRequest } from '../support/wire-messages.ts';

/** Who asks, by what the wire says of them; and the words that are theirs alone. */
const REQUESTS: readonly { target?: string; header: string; body: string }[] = [
  { header: 'X-Session-Id: ada lovelace', body: '{"prompt":"first secretum"}' },
  { target: '/v1/completions?conv=zo%C3%AB', header: 'A: b', body: '{"prompt":"second secretum"}' },
  { header: 'A: b', body: '{"parameters":{"sequence_id":18446744073709551615},"prompt":"third secretum"}' },
  { header: 'A: b', body: '{"parameters":{"sequence_id":18446744073709551614},"prompt":"fourth secretum"}' },
  { header: 'X-Forwarded-For: 2001:DB8::1, 10.0.0.1', body: '{"prompt":"fifth secretum"}' },
];

async function record(directory: string, flags: readonly string[]): Promise<void> {
  const origin = await new ScriptedOrigin().listen();
  const recording = await startRecording(origin.port, directory, flags);
  for (const { target = '/v1/completions', header, body } of REQUESTS) {
    const lines = [header, 'Content-Type: application/json', `Content-Length: ${body.length}`];
    const request = rawRequest('POST', target, lines, Buffer.from(body));
    origin.expect([{ requestBytes: request.length, answer: [plainAnswer('{}')], close: true }]);
    const client = connect({ port: recording.port, host: '127.0.0.1' });
    client.resume().end(request);
    await once(client, 'close');
  }
  expect(await recording.stop()).toMatchObject({ status: 0, end: { exchanges: REQUESTS.length } });
  origin.close();
}

async function forget(directory: string, ...flags: string[]) {
  const { status, stdout } = await runCommand(['forget', directory, '--json', ...flags]);
  return { status, document: JSON.parse(stdout) as Record<string, unknown> };
}

describe('forgetting by name in a capture that was really recorded', () => {
  it('finds each as people write them, under the key of a fleet, and nobody else', {
    timeout: 120_000,
  }, async () => {
    const keyFile = join(temporaryDirectory(), 'fleet.key');
    writeFileSync(keyFile, randomBytes(32));
    const key = ['--hash-key-file', keyFile];
    const directory = join(temporaryDirectory(), 'capture');
    const keys = [
      '--identify-session',
      'x-session-id',
      '--identify-session',
      'query:conv',
      '--identify-session',
      'oip-sequence',
    ];
    await record(directory, [...key, ...keys]);
    for (const [flags, word] of [
      [['--session-name', 'ada lovelace'], 'first secretum'],
      [['--session-name', 'zoë'], 'second secretum'],
      [['--session-name', '18446744073709551615'], 'third secretum'],
      [['--client-name', '2001:DB8::1'], 'fifth secretum'],
    ] as const) {
      const done = await forget(directory, ...flags, ...key);
      expect(done).toMatchObject({ status: 0, document: { exchanges: 1, complete: true } });
      expect(placesOf(directory, word)).toEqual([]);
    }
    expect(placesOf(directory, 'fourth secretum')).not.toEqual([]);
    const { stdout } = await runCommand(['verify', directory, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, exchanges: 1 });
  });
});
