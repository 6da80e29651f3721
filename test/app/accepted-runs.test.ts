import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { historyView } from '../../src/analysis/history/view.ts';
import { acceptRun, readHistory } from '../../src/app/history.ts';
import { parseInstantUs } from '../../src/core/units.ts';
import { historySchema } from '../../src/documents/history.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A clock that the test sets. */
const at = (text: string) => parseInstantUs(text, 'a test');
const NOW = '2026-12-02T10:00:00Z';
const REASON = 'the old disks, TICKET-7';

/** A history whose only run failed, and a replay of the same test. */
async function failing() {
  // Of errors: a busy machine may leave it open whether a time was the target's.
  const server = await serverOf((_, response) => {
    response.writeHead(500).end();
  });
  const capture = captureOf(requestsOf(30));
  const history = join(temporaryDirectory(), 'history.sqlite');
  const again = () =>
    replayHere(capture, server.url, [
      ...['--json', '--history', history, '--name', 'nightly', '--slo', 'errors: rate<0.5'],
    ]);
  const first = await again();
  expect(documentOf(first).verdict).toBe('FAIL');
  return { history, first, run: documentOf(first).run, again };
}

test('an accepted run is shown in the history until its day, and then no more', async () => {
  const { history, run } = await failing();
  const until = at('2027-01-15');
  const options = { history, reason: REASON, until };
  expect(acceptRun(run, options, at(NOW))).toEqual({
    run,
    test: 'nightly',
    reason: REASON,
    acceptedAt: expect.stringMatching(/^2026-12-02T10:00:00/),
    until: expect.stringMatching(/^2027-01-15T00:00:00/),
  });
  const seen = (now: number) => {
    const document = readHistory(history, { name: null }, now);
    expect(historySchema.parse(document)).toEqual(document);
    const { tone, lines } = historyView(document);
    return {
      runs: document.exceptions.map((each) => each.run),
      tone,
      isShown: lines.join().includes(REASON),
    };
  };
  expect(seen(at(NOW))).toEqual({ runs: [run], tone: 'warn', isShown: true });
  expect(seen(until - 1)).toEqual({ runs: [run], tone: 'warn', isShown: true });
  expect(seen(until)).toEqual({ runs: [], tone: 'bad', isShown: false });
  // Accepted again, it has one exception.
  acceptRun(run, { ...options, reason: 'another' }, at(NOW));
  expect(readHistory(history, { name: 'nightly' }, at(NOW)).exceptions).toMatchObject([
    { reason: 'another' },
  ]);
  for (const [changed, code] of [
    [{ until: at(NOW) }, 'OPTION_INVALID'],
    [{ until: at('2028-01-01') }, 'OPTION_INVALID'],
    [{ reason: ' ' }, 'OPTION_INVALID'],
    [{ reason: 'a\nb' }, 'OPTION_INVALID'],
    [{ history: `${history}.none` }, 'INPUT_INVALID'],
  ] as const) {
    expect(() => acceptRun(run, { ...options, ...changed }, at(NOW))).toThrow(
      expect.objectContaining({ code }),
    );
  }
  expect(() => acceptRun('no-run', options, at(NOW))).toThrow(
    expect.objectContaining({ code: 'INPUT_INVALID' }),
  );
});

test('history accept at the command line: every page of the test after it shows the exception', async () => {
  const { history, first, run, again } = await failing();
  const until = new Date(Date.now() + 30 * 86_400e3).toISOString();
  const accept = ['history', 'accept', first.out, '--history', history];
  expect((await runCommand(accept)).status).toBe(2);
  const done = await runCommand([...accept, '--reason', REASON, '--until', until]);
  expect(done, done.stderr).toMatchObject({ status: 0 });
  const page = join(temporaryDirectory(), 'page.html');
  expect((await runCommand(['history', history, '--html', page])).status).toBe(0);
  expect((await runCommand(['history', history])).stdout).toContain(REASON);
  expect(readFileSync(page, 'utf8')).toContain(REASON);
  const next = await again();
  // The verdict stays what it is.
  expect(documentOf(next)).toMatchObject({ verdict: 'FAIL', exceptions: [{ run, reason: REASON }] });
  expect((await runCommand(['report', next.out, '--html', page])).status).toBe(0);
  expect(readFileSync(page, 'utf8')).toContain(REASON);
  expect((await runCommand(['report', next.out])).stdout).toContain(REASON);
});
