import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { captureOf } from '../support/captures.ts';
import { arrivalAlone, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe('a start that cannot be', () => {
  it.each<[string, number, RegExp, (capture: string, url: string) => string[]]>([
    [
      'a multiplier of 0',
      2,
      /--multiplier: "0"/,
      (capture, url) => [capture, '--target', url, '--multiplier', '0'],
    ],
    ['a malformed target', 2, /--target: "nowhere"/, (capture) => [capture, '--target', 'nowhere']],
    [
      'an objective on what nobody knows',
      2,
      /--slo: /,
      (capture, url) => [capture, '--target', url, '--slo', 'mistakes: rate<0.001'],
    ],
    [
      'a window that ends before it begins',
      2,
      /ends before it begins/,
      (capture, url) => [capture, '--target', url, '--window', '2026-11-25..2026-11-24'],
    ],
    [
      'a window without exchanges',
      2,
      /lies in the window/,
      (capture, url) => [capture, '--target', url, '--window', '2026-11-25..'],
    ],
    ['a directory that is no capture', 2, /capture/, (_, url) => [temporaryDirectory(), '--target', url]],
    [
      'the recorded host as target',
      2,
      /must not hit production/,
      (capture) => [capture, '--target', 'http://model.internal:1'],
    ],
    [
      'a target that is not there',
      5,
      /cannot be reached/,
      (capture) => [capture, '--target', 'http://127.0.0.1:1'],
    ],
  ])('leaves no trace: %s', async (_, status, message, args) => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const result = await runReprise(['replay', ...args(captureOf(requestsOf(3)), server.url), '--out', out]);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toContain('unexpected error');
    expect(result.status).toBe(status);
    expect(result.stdout).toBe('');
    expect(existsSync(out)).toBe(false);
    expect(server.requests).toEqual([]);
  });

  it('leaves alone a directory that something lies in', async () => {
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    mkdirSync(out);
    writeFileSync(join(out, 'notes.txt'), 'mine');
    const result = await runReprise([
      'replay',
      captureOf(requestsOf(3)),
      '--target',
      server.url,
      '--out',
      out,
    ]);
    expect(result.status).toBe(2);
    expect(readFileSync(join(out, 'notes.txt'), 'utf8')).toBe('mine');
    expect(existsSync(join(out, 'run.sqlite'))).toBe(false);
    expect(server.requests).toEqual([]);
  });
});

describe('a dry run', () => {
  it('plans without a target, sends nothing and writes nothing', async () => {
    const cwd = temporaryDirectory();
    const exchanges = [...requestsOf(100, 10_000), arrivalAlone(TEST_EPOCH_US + 2_000_000)];
    const result = await runReprise(
      ['replay', captureOf(exchanges), '--dry-run', '--multiplier', '2', '--json'],
      { cwd },
    );
    expect(result.status).toBe(0);
    expect(JSON.parse(result.stdout)).toMatchObject({
      kind: 'replay_plan',
      recorded: 101,
      planned: 100,
      sendable: true,
      multiplier: 2,
      durationS: 1,
      scaling: 'compress',
      skipped: { no_payload: 1, truncated_request: 0, incomplete_request: 0 },
      peak: { second: '2026-11-24T15:00:00.000000Z', recordedPerSecond: 100 },
      connections: { openMax: 1 },
      payloads: { sampled: 100 },
      fidelity: { recorded: { count: 101 }, planned: { count: 100 } },
    });
    expect(existsSync(join(cwd, 'runs'))).toBe(false);
  });

  it('holds what is skipped against the sends there would be, and looks into a sample of those', async () => {
    const capture = captureOf([...requestsOf(300), arrivalAlone(TEST_EPOCH_US + 2_000_000)]);
    const scaled = ['--scaling', 'amplify,jitter=0s', '--multiplier', '20'];
    const amplified = await runReprise(['replay', capture, '--dry-run', ...scaled]);
    expect(amplified.stdout).toContain('no_payload: 20 of 6020');
    expect(Number(/found in (\d+) sampled/.exec(amplified.stdout)?.[1])).toBeLessThan(300);
    const few = await runReprise(['replay', capture, '--dry-run', '--max-requests', '40']);
    expect(few.stdout).toContain('found in 40 sampled');
  });

  it('plans a capture of arrivals alone, which a replay refuses', async () => {
    const capture = captureOf(
      [1, 2, 3].map((at) => arrivalAlone(TEST_EPOCH_US + at * 1_000_000)),
      {
        origin: { kind: 'imported', file: 'trace.csv', paired: false, details: {} },
      },
    );
    const plan = await runReprise(['replay', capture, '--dry-run']);
    expect(plan.status).toBe(0);
    expect(plan.stdout).toMatch(/^Plan: /);
    expect(plan.stdout).toMatch(/exchanges +3 +3\n/);
    expect(plan.stdout).toContain('it can be planned, not replayed');
    const refused = await runReprise(['replay', capture, '--target', 'http://127.0.0.1:1']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain(`The capture ${capture} contains arrivals but no requests`);
    expect(refused.stderr).toContain('--payloads');
  });

  it('names the segment that is damaged, and prints no plan as a document', async () => {
    const capture = captureOf(requestsOf(50));
    const file = segmentsOf(capture)[0]?.path ?? '';
    chmodSync(file, 0o600);
    // What sums the segment up is whole, so that only the planning comes to it.
    const segment = new Database(file);
    segment.exec('UPDATE block SET payload = zeroblob(length(payload))');
    segment.close();
    expect((await runReprise(['inspect', capture])).status).toBe(0);
    const result = await runReprise(['replay', capture, '--dry-run', '--json']);
    expect(result.stdout).toBe('');
    expect(result.stderr).toContain(basename(file));
    expect(result.stderr).not.toContain('unexpected error');
    expect(result.status).toBe(2);
  });
});
