import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ReplayDocument, SessionOrderDocument } from '../../src/documents/replay.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { documentOf, type Replayed, replay, serverOf } from '../support/replaying.ts';

const SESSIONS = 5;
const TURNS = 4;
const TOOK_US = 10_000;
const THINK_US = 40_000;

/** Sessions that begin 20 ms apart; each of their requests was answered in 10 ms, and thought about for 40 ms. */
const ARRIVALS = Array.from({ length: SESSIONS * TURNS }, (_, at) => {
  const [session, turn] = [at % SESSIONS, Math.floor(at / SESSIONS)];
  return { session, turn, offsetUs: session * 20_000 + turn * (TOOK_US + THINK_US) };
}).sort((a, b) => a.offsetUs - b.offsetUs);

function capture(sessionOf: (session: number) => Buffer | null): string {
  return captureOf(
    ARRIVALS.map(({ session, turn, offsetUs }) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + offsetUs,
        firstByteOffsetUs: TOOK_US,
        lastByteOffsetUs: TOOK_US,
        session: sessionOf(session),
        request: requestMessage({ target: `/v2/models/m/infer?s=${session}&t=${turn}` }),
      }),
    ),
  );
}

const keyed = (session: number) => Buffer.from([session, 1, 2, 3, 4, 5, 6, 7]);

type SessionRun = ReplayDocument & { readonly sessionOrder: SessionOrderDocument };

/** Sends of each session, in the order of their instants. */
function sessionsOf({ out }: Pick<Replayed, 'out'>) {
  const reader = new RunReader(out);
  const sends = [...reader.sends()];
  reader.close();
  const rows = sends.sort((a, b) => a.intendedOffsetNs - b.intendedOffsetNs);
  return Map.groupBy(rows, ({ exchangeId }) => ARRIVALS[exchangeId - 1]?.session);
}

describe('a partly open replay', () => {
  it('sends follow-ups once a slow server has answered and the think time has passed', async () => {
    const server = await serverOf((_, response) => setTimeout(() => response.end('{}'), 150));
    const run = await replay(capture(keyed), server.url, ['--json', '--session-order', 'partly-open']);
    const document = documentOf(run) as SessionRun;
    expect(document).toMatchObject({ planned: 20, sent: 20, completed: 20, unreached: 0 });
    expect(document.sessionOrder).toMatchObject({
      policy: 'partly-open',
      heldBack: 0,
      notHeld: 0,
      counts: { sessions: SESSIONS, followUps: SESSIONS * (TURNS - 1), overlapped: 0 },
    });
    for (const sends of sessionsOf(run).values()) {
      for (const [at, send] of sends.entries()) {
        const before = sends[at - 1];
        if (before === undefined) continue;
        expect(send.intendedOffsetNs).toBe((before.lastByteOffsetNs ?? 0) + THINK_US * 1e3);
        expect(send.actualOffsetNs).toBeGreaterThanOrEqual(send.intendedOffsetNs);
      }
    }
    expect(document.fidelity.resolved?.count).toBe(20);
    expect(document.fidelity.unordered).toBe(0);
    // Offered less than was planned, and not passed off as all of it.
    expect(document.effectiveMultiplier).toBeLessThan(0.5);
    expect(document.reasons.map(({ code }) => code)).toContain('multiplier_not_reached');
    expect(document.notes.map(({ code }) => code)).toContain('partly_open');
    const kept = JSON.parse(readFileSync(join(run.out, 'summary.json'), 'utf8')) as SessionRun;
    expect(kept.sessionOrder).toEqual(document.sessionOrder);
  });

  it('says before it starts what it bends, and where there are no sessions that it is open', async () => {
    const server = await serverOf();
    const args = ['--session-order', 'partly-open', '--multiplier', '2', '--verbose'];
    const run = await replay(capture(keyed), server.url, args);
    expect(run.stderr).toContain('think time over the multiplier');
    expect(run.stderr).toContain('no capacity for an open load');
    expect(run.stdout).toContain('came due');
    expect(run.stdout).toContain(`Sessions, partly open: ${SESSIONS} sessions`);
    const alone = await replay(
      capture(() => null),
      server.url,
      args,
    );
    expect(alone.stderr).toContain('without sessions it is the same as open');
    const dry = await runReprise(['replay', capture(keyed), '--dry-run', ...args]);
    expect(dry.stdout).toContain('sessions partly open');
    expect(alone.stdout).toContain('Sessions, partly open: 0 sessions, 0 follow-ups');
  });
});
