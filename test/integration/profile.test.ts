import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type ProfileDocument, profileSchema } from '../../src/documents/profile.ts';
import { CaptureWriter } from '../../src/storage/capture/writer.ts';
import { accountOf } from '../support/accounts.ts';
import { captureOf, newCapture, writerOptions } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { ODD_DAY, profiledCapture, SECRET_PROMPT } from '../support/profiled-capture.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

async function profile(...args: string[]): Promise<ProfileDocument> {
  const done = await runCommand(['profile', ...args, '--json']);
  expect(done, done.stderr).toMatchObject({ status: 0, stderr: '' });
  return JSON.parse(done.stdout) as ProfileDocument;
}

describe('reprise profile', () => {
  let capture: string;
  let whole: ProfileDocument;

  beforeAll(async () => {
    capture = profiledCapture(0.2);
    whole = await profile(capture);
  });

  test('prints a document of the published schema, and nothing beyond it', () => {
    // What the schema does not name it would leave out.
    expect(profileSchema.parse(whole)).toEqual(whole);
  });

  test('finds what the capture was made of', () => {
    expect(whole.requests).toBe(whole.hourOfWeek.reduce((sum, count) => sum + count, 0));
    expect(whole.cycle.unusual.days.map(({ day }) => day)).toContain(ODD_DAY);
    expect(whole.retries.likely).toBeGreaterThanOrEqual(1);
    expect(whole.mix.models.map(({ model }) => model)).toContain('acme-secret-model');
    expect(whole.payloads).toMatchObject({ complete: true, sampled: whole.requests });
    expect(whole.payloads?.protocols.map(({ protocol }) => protocol)).toContain('openai chat');
    expect(JSON.stringify(whole)).not.toContain(SECRET_PROMPT);
  });

  test('bounds how much of the prompts a cache could reuse, beside what the server reports', async () => {
    const content = 'The same words first, then others. '.repeat(20);
    const chat = (at: number, cachedTokens: number | null) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 1e6,
        route: 'POST /v1/chat/completions',
        model: 'm',
        promptTokens: 200,
        cachedTokens,
        request: requestMessage({
          body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: `${content}${at}` }] }),
        }),
      });
    const chats = captureOf([chat(0, null), chat(1, 160), chat(2, 100), chat(3, 200)]);
    const { reuse } = await profile(chats);
    expect(reuse).toMatchObject({
      prompts: 4,
      tokens: 800,
      beyondLimit: 0,
      reported: { answers: 4, promptTokens: 800, cachedTokens: 460, share: 0.575 },
    });
    expect(reuse?.upperBound).toBeGreaterThanOrEqual(0.72);
    expect(reuse?.upperBound).toBeLessThanOrEqual(0.75);
    const { reuse: part } = await profile(chats, '--payload-sample', '1');
    expect(part).toMatchObject({ prompts: 1, upperBound: null, reported: { share: 0.575 } });
    const shown = await runCommand(['profile', chats]);
    expect(shown.stdout).toContain('57.5');
  });

  test('takes windows, filters and samples as a replay does', async () => {
    const day = await profile(
      capture,
      '--window',
      `${ODD_DAY}`,
      '--filter',
      'model=resnet',
      '--payload-sample',
      '10',
      '--omit-names',
    );
    expect(day.window).toMatchObject({ parts: [{ requests: day.requests }] });
    expect(day.requests).toBeLessThan(day.unfilteredRequests);
    expect(day.unfilteredRequests).toBeLessThan(whole.requests);
    expect(day.mix.models.map(({ model }) => model)).toEqual(['resnet']);
    expect(day.filters).toEqual(['model']);
    expect(day.payloads?.complete).toBe(false);
    expect(day.capture).toBeNull();
  });

  test('writes a page and a table beside the summary', async () => {
    const [html, csv] = ['profile.html', 'profile.csv'].map((file) => join(temporaryDirectory(), file)) as [
      string,
      string,
    ];
    writeFileSync(html, 'of yesterday');
    const done = await runCommand(['profile', capture, '--html', html, '--csv', csv]);
    expect(done).toMatchObject({ status: 0 });
    expect(done.stdout).toMatch(/^Profile of .*\n {2}2026-11-02 00:00:00/);
    expect(done.stdout).not.toContain('\u001b');
    expect(readFileSync(html, 'utf8')).toMatch(/^<!doctype html>/);
    expect(readFileSync(csv, 'utf8')).toMatch(/^section,item,measure,value,unit\r\n/);
  });
});

test('a capture of more than 104 days has a profile, though no replay could play it', async () => {
  const dayUs = 86_400e6;
  const yearLong = captureOf(
    [0, 200, 365].map((day) => exchangeOf({ arrivalUs: TEST_EPOCH_US + day * dayUs })),
  );
  expect(await profile(yearLong)).toMatchObject({ requests: 3 });
  const played = await runCommand(['replay', yearLong, '--dry-run']);
  expect(played.status).toBe(2);
  expect(played.stderr).toContain(
    'at 1x this window lasts 365.0 days; a replay or an export lasts at most 104 days',
  );
});

test('a capture without exchanges has a profile, which says what was lost', async () => {
  const directory = newCapture();
  const writer = new CaptureWriter(writerOptions(directory), systemClock);
  const writer_down = { exchanges: 7, bytes: 700 };
  writer.setAccount(accountOf({ startedUs: TEST_EPOCH_US, atUs: TEST_EPOCH_US + 1, lost: { writer_down } }));
  writer.close();
  const empty = await profile(directory);
  expect(empty).toMatchObject({ requests: 0, window: null, rate: { mean: null }, losses: { exchanges: 7 } });
  profileSchema.parse(empty);
});

test('what cannot be meant is said at once', async () => {
  const done = await runCommand([
    'profile',
    newCapture(),
    '--json',
    '--csv',
    '--payload-sample',
    'some',
    '--tz',
    'Mars/Olympus',
  ]);
  expect(done.status).toBe(2);
  expect(done.stderr).toContain('--json and --csv would both be printed');
  expect(done.stderr).toContain('"some" is not a number of payloads');
  expect(done.stderr).toContain('"Mars/Olympus" is not a time zone');
});

test('--document shows a document, and is refused beside a capture and flags that choose', async () => {
  const capture = captureOf([exchangeOf()]);
  const whole = await profile(capture);
  const file = join(temporaryDirectory(), 'fleet.json');
  writeFileSync(file, JSON.stringify(whole));
  expect(await profile('--document', file)).toEqual(whole);
  expect(await profile('--document', file, '--omit-names')).toMatchObject({ privacy: { shared: true } });
  for (const args of [[], [capture, '--document', file], ['--document', file, '--window', '2026-11-24']]) {
    expect(await runCommand(['profile', ...args])).toMatchObject({ status: 2 });
  }
  writeFileSync(file, '{"kind":"replay"}');
  expect(await runCommand(['profile', '--document', file])).toMatchObject({ status: 2 });
});
