import { expect, test } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';

test('a closed loop keeps so many requests in flight until its time is over, and judges nothing', async () => {
  const server = await serverOf((_, response) => setTimeout(() => response.end('{}'), 20));
  // Recorded far apart: a closed loop waits for none of that.
  const capture = captureOf(requestsOf(10, 1_000_000));
  const result = await replayHere(capture, server.url, ['--json', '--concurrency', '4', '--duration', '1s']);
  const document = documentOf(result);
  expect(document).toMatchObject({ scaling: 'closed', closedLoop: { concurrency: 4 }, verdict: null });
  expect(document.notes.map(({ code }) => code)).toContain('closed_loop');
  expect(document.latencyMs.scheduled.p50).toBeNull();
  expect(document.latencyMs.service.p50).toBeGreaterThan(15);
  // What was planned is what was sent, whatever had been read ahead.
  expect(document.unreached).toBe(0);
  expect(document.planned).toBe(document.sent);
  expect([document.recorded, document.selected]).toEqual([document.sent, document.sent]);
  const { recorded, planned } = document.fidelity;
  expect([recorded.count, planned.count]).toEqual([document.sent, document.sent]);
  expect(document.effectiveMultiplier).toBe(document.multiplier);
  expect(document.reasons.map(({ code }) => code)).not.toContain('multiplier_not_reached');
  expect(document.sent).toBeGreaterThan(4);
  const reader = new RunReader(result.out);
  const sends = [...reader.sends()];
  reader.close();
  expect(sends).toHaveLength(document.sent);
  const begins = sends.map(({ actualOffsetNs }) => ({ at: actualOffsetNs ?? 0, by: 1 }));
  const ends = sends.map(({ lastByteOffsetNs }) => ({ at: lastByteOffsetNs ?? 0, by: -1 }));
  let inFlight = 0;
  let most = 0;
  // What ends at an instant ends before what begins there.
  for (const { by } of [...begins, ...ends].sort((one, other) => one.at - other.at || one.by - other.by)) {
    inFlight += by;
    most = Math.max(most, inFlight);
  }
  expect(most).toBe(4);
  const compared = await runCommand(['compare', result.out, result.out]);
  expect(compared.status).toBe(2);
  expect(compared.stderr).toContain('closed loop');
});

test('a closed loop ends with the most requests that may be sent', async () => {
  const server = await serverOf();
  const capture = captureOf(requestsOf(10));
  const args = ['--json', '--concurrency', '3', '--duration', '1m', '--max-requests', '25'];
  const document = documentOf(await replayHere(capture, server.url, args));
  expect(document).toMatchObject({ planned: 25, sent: 25, completed: 25, interrupted: null });
});

test.each([
  ['--slo', ['--slo', 'latency: p(95)<9']],
  ['--rate', ['--rate', '5']],
  ['--max-rate', ['--max-rate', '5']],
  ['--warmup', ['--warmup', '5s']],
  ['--dry-run', ['--dry-run']],
])('a closed loop is refused together with %s', async (flag, args) => {
  const server = await serverOf();
  const all = ['--concurrency', '3', '--duration', '1m', ...args];
  const { status, stderr } = await replayHere(captureOf(requestsOf(3)), server.url, all);
  expect(status).toBe(2);
  expect(stderr).toContain(flag);
});
