import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

const COUNT = 1_200;
const GAP_US = 10_000;
const DURATION = ['--duration', '12s'];
/** What so few requests can be sure of early. */
const SHARES = '; errors: rate<0.2; rejected: rate<0.2';
/** What a busy machine may add to a verdict. It concerns the sending side alone. */
const OUR_SIDE: ReadonlySet<string> = new Set(['arrivals_off_plan', 'lag_over_bound', 'generator_paused']);

const numberOf = ({ target }: LoggedRequest) => Number(target.split('n=')[1]);

interface Target {
  readonly tookMs?: (index: number) => number;
  readonly fails?: (index: number) => boolean;
}

async function played(slo: string, { tookMs, fails }: Target = {}, args: readonly string[] = DURATION) {
  const server = await serverOf((request, response: ServerResponse) => {
    const index = numberOf(request);
    if (fails?.(index) === true) response.statusCode = 500;
    setTimeout(() => response.end('{"outputs":[]}'), tookMs?.(index) ?? 5);
  });
  const capture = captureOf(requestsOf(COUNT, GAP_US));
  const finished = await replayHere(capture, server.url, [
    '--confidence',
    'until-sure',
    '--json',
    '--slo',
    slo,
    ...args,
  ]);
  return { status: finished.status, document: documentOf(finished), received: server.requests.length };
}

/** A run that was ended early is whole: all that was planned of it was sent, and nothing else was. */
function expectEndedEarly({ document, received }: { document: ReplayDocument; received: number }): void {
  expect(document.untilSure).toMatchObject({ endedEarly: true });
  expect(document.untilSure?.looks.at(-1)).toMatchObject({ open: 0 });
  expect(document).toMatchObject({ interrupted: null, sent: document.planned });
  expect(document.planned).toBeLessThan(COUNT);
  expect(received).toBe(document.planned);
  expect(document.notes[0]?.code).toBe('until_sure');
}

const theirs = ({ reasons }: ReplayDocument) =>
  reasons.map(({ code }) => code).filter((code) => !OUR_SIDE.has(code));

test('a target that is clearly good ends a run early with PASS', async () => {
  const run = await played(`latency: p(90)<20s${SHARES}`);
  expectEndedEarly(run);
  expect(theirs(run.document)).toEqual([]);
  if (run.document.reasons.length === 0)
    expect(run).toMatchObject({ status: 0, document: { verdict: 'PASS' } });
  else expect(run).toMatchObject({ status: 4, document: { verdict: 'INCONCLUSIVE' } });
});

test('a target that is clearly bad ends a run early with FAIL', async () => {
  const run = await played('errors: rate<0.02; rejected: rate<0.1', { fails: (index) => index % 5 === 2 });
  expectEndedEarly(run);
  expect(run).toMatchObject({ status: 3, document: { verdict: 'FAIL' } });
});

test('a target at its limit is played until --duration, also where slow answers come after a look', async () => {
  // A tenth is over the limit, and none of that tenth has ended at the first look.
  const run = await played(`latency: p(90)<1s${SHARES}`, {
    tookMs: (index) => (index % 10 === 5 ? 1_800 : 5),
  });
  expect(run.document.untilSure).toMatchObject({ endedEarly: false });
  expect(run.document.untilSure?.looks.every(({ open }) => open > 0)).toBe(true);
  expect(run).toMatchObject({ status: 4, received: COUNT, document: { planned: COUNT, sent: COUNT } });
  // Late sends may be why the observed value is over the limit.
  expect(['too_close', undefined]).toContain(theirs(run.document)[0]);
});

test('a run that was planned to its end before the look that is sure was not ended early', async () => {
  const run = await played(`latency: p(90)<20s${SHARES}`, {}, ['--duration', '2s']);
  expect(run.document).toMatchObject({ planned: 200, untilSure: { endedEarly: false } });
});
