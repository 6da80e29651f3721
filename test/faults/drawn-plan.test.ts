import { describe, expect, it } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';

/** Two hundred requests, 5 ms apart, by sessions. */
function captureBy(sessionAt: (n: number) => number): string {
  return captureOf(
    Array.from({ length: 200 }, (_, n) =>
      exchangeOf({ arrivalUs: TEST_EPOCH_US + n * 5_000, session: Buffer.alloc(8, sessionAt(n)) }),
    ),
  );
}

describe('a run of a plan whose sessions were drawn', () => {
  it('is of the load that was asked for, whatever its seed', async () => {
    const server = await serverOf();
    // Sessions of 1 to 39 requests.
    const capture = captureBy((n) => Math.floor(Math.sqrt(n) * 10) + 1);
    for (const seed of ['1', '2', '3']) {
      const run = await replay(capture, server.url, ['--multiplier', '0.3', '--seed', seed, '--json']);
      const document = documentOf(run);
      expect(document).toMatchObject({ recorded: 200, planned: 60, effectiveMultiplier: 0.3 });
      expect(document.reasons.map(({ code }) => code)).not.toContain('multiplier_not_reached');
    }
  });

  it('says before it sends that one session is too large, and neither passes nor fails', async () => {
    const server = await serverOf();
    const capture = captureBy((n) => (n % 10 < 7 ? 1 : 2));
    for (const [multiplier, planned, limit] of [
      // Too little may not pass, and too much may not fail.
      ['1.5', 260, '<60000'],
      ['1.6', 340, '<0.0001'],
    ] as const) {
      const run = await replay(capture, server.url, [
        ...['--scaling', 'amplify,jitter=0s', '--multiplier', multiplier],
        ...['--slo', `latency: p(50)${limit}`, '--json'],
      ]);
      const document = documentOf(run);
      expect(document).toMatchObject({ planned, verdict: 'INCONCLUSIVE' });
      expect(document.reasons.map(({ code }) => code)).toContain('multiplier_not_reached');
      expect(run.stderr).toContain(`WARNING: sessions are too large to draw: ${planned} requests`);
      expect(run.stderr.indexOf('WARNING')).toBeLessThan(run.stderr.indexOf('kept in'));
    }
  });
});
