import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import type { ProfileDocument } from '../../src/documents/profile.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { documentOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const LATENCY_US = 40_000;

/** Requests at equal gaps with a recorded latency each. */
function recorded(latenciesUs: readonly number[], gapUs = 1_000, parts: Partial<Exchange> = {}): Exchange[] {
  return latenciesUs.map((lastByteOffsetUs, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * gapUs,
      requestEndOffsetUs: 0,
      firstByteOffsetUs: lastByteOffsetUs,
      lastByteOffsetUs,
      ...parts,
    }),
  );
}

/** Runs `reprise init` and returns the file. */
async function scenarioFor(capture: string, flags: readonly string[] = []) {
  const out = join(temporaryDirectory(), 'scenario.yaml');
  const { status, stdout, stderr } = await runCommand(['init', capture, '--out', out, ...flags]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return { out, stdout, text: readFileSync(out, 'utf8') };
}

describe('reprise init', () => {
  test('writes a scenario that runs as it stands, with the objectives that it printed', async () => {
    const server = await serverOf();
    // So slow that a busy machine meets the objectives too.
    const capture = captureOf(recorded(Array.from({ length: 300 }, () => 20_000_000)));
    const { out, stdout, text } = await scenarioFor(capture, ['--target', server.url]);
    const objectives = ['latency: p(95)<24000', 'errors: rate<0.01'];
    for (const objective of objectives) {
      expect(stdout).toContain(`  ${objective}\n`);
      expect(text).toContain(`  - "${objective}"\n`);
    }
    const run = ['run', out, '--set', `out=${join(temporaryDirectory(), 'run')}`, '--json'];
    const result = await runCommand(run);
    const document = documentOf(result);
    expect(document).toMatchObject({ sent: 300, multiplier: 1, options: { slo: objectives } });
    // A late generator is never a FAIL.
    expect(['PASS', 'INCONCLUSIVE']).toContain(document.verdict);
    expect(server.requests).toHaveLength(300);
  });

  test('does not count clients that left as failures, nor does profile, as a replay', async () => {
    const [left, failed, count] = [15, 11, 2_462];
    const capture = captureOf(
      recorded(Array.from({ length: count }, () => LATENCY_US)).map((each, at) => {
        if (at < left) return { ...each, outcome: 'client_aborted', response: null, status: null };
        return at < left + failed ? { ...each, status: 500 } : each;
      }),
    );
    const profiled = await runCommand(['profile', capture, '--json']);
    const { errors } = JSON.parse(profiled.stdout) as ProfileDocument;
    expect(errors).toMatchObject({ failed, clientAborted: left, failedShare: failed / (count - left) });
    const { stdout } = await scenarioFor(capture);
    expect(stdout).toContain('errors: rate<0.01\n');
    const server = await serverOf();
    const played = await runCommand([
      ...['replay', capture, '--target', server.url, '--json', '--multiplier', '4'],
      ...['--out', join(temporaryDirectory(), 'run')],
    ]);
    expect(documentOf(played).asRecorded?.failedShare).toBe(errors.failedShare);
  });

  test('without a target writes none, and every other setting is valid', async () => {
    const { out, text } = await scenarioFor(captureOf(recorded([LATENCY_US])));
    expect(text).toMatch(/^# target: /m);
    const { status, stdout } = await runCommand(['run', out, '--dry-run', '--json']);
    expect(status).toBe(0);
    const { settings } = JSON.parse(stdout);
    expect(Object.keys(settings)).toEqual(['name', 'multiplier', 'slo']);
    // One latency supports no percentile.
    expect(settings.slo).toEqual(['errors: rate<0.01']);
    expect((await runCommand(['run', out])).status).toBe(2);
  });

  test('takes no target from the variable of a recorder', async () => {
    const out = join(temporaryDirectory(), 'scenario.yaml');
    const env = { REPRISE_TARGET: 'http://production' };
    await runCommand(['init', captureOf(recorded([LATENCY_US])), '--out', out], { env });
    expect(readFileSync(out, 'utf8')).not.toContain('production:');
    expect(readFileSync(out, 'utf8')).not.toMatch(/^target:/m);
  });

  test('proposes the busiest window of a long recording, and its latencies', async () => {
    const calm = recorded(
      Array.from({ length: 40 }, () => 1_000_000),
      60_000_000,
    );
    const busy = recorded(Array.from({ length: 250 }, () => LATENCY_US)).map((each) => ({
      ...each,
      arrivalUs: each.arrivalUs + 600_500_000,
    }));
    const all = [...calm, ...busy].sort((one, other) => one.arrivalUs - other.arrivalUs);
    const { out, text } = await scenarioFor(captureOf(all));
    expect(text).toMatch(/^window: peak=10m$/m);
    expect(text).toContain('Recorded p95: 40.0 ms, of 260 completed requests.');
    const { stdout } = await runCommand(['run', out, '--dry-run']);
    expect(stdout).toContain('--window=peak=10m');
  });

  test('names masked headers, each with a variable for a test value', async () => {
    const request = { ...requestMessage(), redacted: ['authorization', 'x-api-key', '/prompt'] };
    const { text } = await scenarioFor(captureOf(recorded([LATENCY_US], 1, { request })));
    expect(text).toContain('#   - "authorization: env:TEST_AUTHORIZATION"');
    expect(text).toContain('#   - "x-api-key: env:TEST_X_API_KEY"');
    expect(text).toContain('body values are masked');
  });

  test('allows twice the recorded failures', async () => {
    const failed = recorded([LATENCY_US], 1, { outcome: 'upstream_failed', response: null, status: null });
    const fine = recorded(Array.from({ length: 24 }, () => LATENCY_US));
    const { text } = await scenarioFor(captureOf([...failed, ...fine]));
    expect(text).toContain('  - "errors: rate<0.08"');
  });

  test.each([
    ['a file that is there', (out: string) => out],
    ['a directory that is not there', (out: string) => join(`${out}.d`, 'x.yaml')],
  ])('refuses %s and leaves everything as it was', async (_, outOf) => {
    const folder = temporaryDirectory();
    const mine = join(folder, 'scenario.yaml');
    writeFileSync(mine, 'mine');
    const capture = captureOf(recorded([LATENCY_US]));
    const { status, stderr } = await runCommand(['init', capture, '--out', outOf(mine)]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/\n {2}hint: \S/);
    expect(readFileSync(mine, 'utf8')).toBe('mine');
    expect(readdirSync(folder)).toEqual(['scenario.yaml']);
  });

  test.each([
    ['no capture', () => temporaryDirectory()],
    ['an empty capture', () => captureOf([])],
  ])('of %s writes nothing', async (_, captureAt) => {
    const out = join(temporaryDirectory(), 'scenario.yaml');
    expect((await runCommand(['init', captureAt(), '--out', out])).status).toBe(2);
    expect(existsSync(out)).toBe(false);
  });

  test('proposes objectives that can be read, and that the recording itself meets', async () => {
    const latencies = fc.array(fc.integer({ min: 1, max: 3_600_000_000 }), { minLength: 60, maxLength: 90 });
    await fc.assert(
      fc.asyncProperty(latencies, async (latenciesUs) => {
        const { text } = await scenarioFor(captureOf(recorded(latenciesUs)));
        const [, expression = '', limit] = /- "(latency: p\(50\)<([\d.]+))"/.exec(text) ?? [];
        expect(parseObjectives([expression])[0]).toMatchObject({ limit: Number(limit) });
        const atMost = latenciesUs.filter((us) => us / 1000 < Number(limit));
        expect(atMost.length).toBeGreaterThanOrEqual(latenciesUs.length / 2);
      }),
      { numRuns: repeated(3, 8) },
    );
  });
});
