import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EncryptionKey } from '../../src/storage/capture/encryption.ts';
import { newCapture } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { live } from '../support/lives.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

test('an encrypted capture that goes on in clear warns at its start, in doctor and in inspect: nothing did', async () => {
  const keyFile = join(temporaryDirectory(), 'key');
  writeFileSync(keyFile, randomBytes(32).toString('hex'));
  const encryption = EncryptionKey.load(keyFile);
  const directory = newCapture();
  live({ id: 'before', directory, hours: 2, options: { encryption } });
  const doctor = async () =>
    /^encryption +(.*)$/m.exec((await runCommand(['doctor', '--dir', directory])).stdout)?.[1];
  const inspected = async () =>
    /^encrypted +(.*)$/m.exec((await runCommand(['inspect', directory])).stdout)?.[1];
  expect(await doctor()).toMatch(/^ok +2 of the latest 2 segments are encrypted/);
  expect(await inspected()).toBe(`2 segments, under ${encryption.id}`);

  // Nothing listens there, and nothing is forwarded: what is asked is only what a start says.
  const recording = await startRecording(9, directory, []);
  const { log } = await recording.stop();
  const told = log.filter(({ message }) => message.startsWith('this capture'));
  expect(told).toMatchObject([
    {
      level: 'warn',
      message: 'this capture was encrypted until now and continues unencrypted',
      keyId: encryption.id,
      advice: expect.stringContaining('--encryption-key-file'),
    },
    // Its own hash key is made at the first start: the lives before had another.
    { level: 'warn', message: 'this capture continues under another hash key' },
  ]);

  live({ id: 'after', directory, hours: 1, startHour: 3 });
  expect(await doctor()).toMatch(/^warn +2 of the latest \d segments are encrypted/);
  expect(await inspected()).toMatch(
    new RegExp(`^2 of \\d segments, under ${encryption.id}; the others are in clear$`),
  );
});
