import { describe, expect, it } from 'vitest';
import type { ReplayDocument, ScalingCounts, ScalingPlan } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US, testHash } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

type Scaled = ReplayDocument & { readonly scalingPlan: ScalingPlan & { readonly counts: ScalingCounts } };

const SESSIONS = 20;
const TURNS = 3;

/** Sessions of three requests, 5 ms between one request and the next, with the session's name in a header. */
function sessionCapture(): string {
  const exchanges = Array.from({ length: SESSIONS * TURNS }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 5_000,
      session: testHash.ofIdentity('session', `s${at % SESSIONS}`),
      request: requestMessage({
        target: `/v1/chat?turn=${Math.floor(at / SESSIONS)}`,
        headers: [
          ['Host', 'prod.internal'],
          ['X-Session-Id', `session-number-${at % SESSIONS}`],
        ],
        body: `{"prompt":"p${at % SESSIONS}"}`,
      }),
    }),
  );
  return captureOf(exchanges, { policy: { bodies: 'all', session: ['x-session-id'] } });
}

function sessionOf({ headers }: LoggedRequest): string {
  return headers.find(([name]) => name.toLowerCase() === 'x-session-id')?.[1] ?? '';
}

function turnOf({ target }: LoggedRequest): string {
  return target.slice(-1);
}

describe('a scaled replay', () => {
  it('amplifies by whole sessions that have names of their own, in order, and says so', async () => {
    const server = await serverOf();
    const done = await replay(sessionCapture(), server.url, [
      ...['--scaling', 'amplify,jitter=50ms,perturb=json:/prompt', '--multiplier', '2'],
      '--json',
    ]);
    const document = documentOf(done) as Scaled;
    expect(document).toMatchObject({
      recorded: 60,
      planned: 120,
      sent: 120,
      scaling: 'amplify',
      multiplier: 2,
      effectiveMultiplier: 2,
      scalingPlan: { timesEach: [2, 2], perturb: ['json:/prompt'], counts: { copies: 60, perturbed: 60 } },
    });
    // Recorded sessions are all different, and a copy that was made to differ repeats none.
    expect(document.fidelity.duplicateRatio).toBeCloseTo(40 / 120, 6);
    const bySession = Map.groupBy(server.requests, sessionOf);
    expect(bySession.size).toBe(2 * SESSIONS);
    for (const requests of bySession.values()) expect(requests.map(turnOf)).toEqual(['0', '1', '2']);
    expect([...bySession.keys()].filter((name) => /^session-number-\d+$/.test(name))).toHaveLength(SESSIONS);
  });

  it('thins by whole sessions for a share of the fleet, the same ones for the same seed', async () => {
    const capture = sessionCapture();
    const sessions: string[][] = [];
    for (const seed of ['1', '1', '2']) {
      const server = await serverOf();
      const done = await replay(capture, server.url, ['--target-share', '8/20', '--seed', seed, '--json']);
      const document = documentOf(done) as Scaled;
      const { thinned } = document.scalingPlan.counts;
      expect(document.planned).toBe(60 - thinned);
      expect(document.effectiveMultiplier).toBeCloseTo(document.planned / 60 / 0.4, 9);
      const bySession = Map.groupBy(server.requests, sessionOf);
      for (const requests of bySession.values()) expect(requests).toHaveLength(TURNS);
      sessions.push([...bySession.keys()].sort());
    }
    expect(sessions[0]).toEqual(sessions[1]);
    expect(sessions[0]).not.toEqual(sessions[2]);
  });

  it('plays stages in the time of the run, and marks sessions that were under way when its window opened', async () => {
    const server = await serverOf();
    const opened = new Date(TEST_EPOCH_US / 1e3 + 150).toISOString();
    const done = await replay(sessionCapture(), server.url, [
      ...['--window', `${opened}..`, '--stages', '50ms@1x,50ms@1x..2x,1s@2x', '--json'],
    ]);
    const document = documentOf(done) as Scaled;
    // 30 exchanges, 5 ms apart: 10 in the first stage, 15 in the ramp (75 ms of the recording), 5 after it.
    expect(document).toMatchObject({ recorded: 30, planned: 30, sent: 30, scaling: 'compress' });
    expect(document.multiplier).toBeCloseTo(document.effectiveMultiplier ?? 0, 6);
    expect(document.multiplier).toBeGreaterThan(1.3);
    expect(document.scalingPlan.counts.openedBefore).toMatchObject({ sessions: SESSIONS, exchanges: 30 });
  });

  // 60 exchanges, 5 ms apart: 295 ms a pass. Stages of 200 ms play 200 ms, then 400 ms of what is repeated.
  it.each([
    [['--loop', '9', '--stages', '200ms@1x,200ms@2x'], { durationS: 0.4, planned: 120 }],
    [['--duration', '300ms', '--stages', '200ms@1x,200ms@2x'], { durationS: 0.3, planned: 80 }],
    // Copies come up to a second after what they repeat, unless told otherwise.
    [
      ['--loop', '9', '--stages', '300ms@1x,300ms@3x', '--scaling', 'amplify'],
      { durationS: 1.6, planned: 240 },
    ],
    [
      ['--loop', '9', '--stages', '300ms@1x,300ms@3x', '--scaling', 'amplify,jitter=100ms'],
      { durationS: 0.7, planned: 240 },
    ],
    [['--loop', '1', '--stages', '400ms@0.5x', '--scaling', 'compress'], { durationS: 0.4, planned: 40 }],
    [['--loop', '1000000', '--stages', '200ms@1x'], { durationS: 0.2, planned: 40 }],
  ])('foresees stages over repeated windows: %j', async (flags, expected) => {
    const { stdout, stderr } = await runReprise([
      'replay',
      sessionCapture(),
      '--dry-run',
      '--json',
      ...flags,
    ]);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject(expected);
  });

  it('says which filters leave nothing to send', async () => {
    const server = await serverOf();
    const done = await replay(sessionCapture(), server.url, ['--filter', 'method=GET']);
    expect(done.status).toBe(2);
    expect(done.stderr).toContain('No exchange of the window has method GET');
  });
});
