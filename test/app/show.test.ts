import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SHOW_OPTIONS, show } from '../../src/app/show.ts';
import { byProgram, resolveOptions } from '../../src/core/options.ts';
import { shownSchema } from '../../src/documents/shown.ts';
import { TraceSample } from '../../src/telemetry/traces.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { storedRun } from '../support/reported-runs.ts';
import { failed, refused, run, send } from '../support/sends.ts';

const MS = 1e6;
const SEGMENT = '20261124T15-7f3a9c21-0001';
const HOSTILE = 'secret \u001b[2J\u202e';

const shown = (directory: string, ids: readonly string[], options = {}) =>
  show(directory, ids, resolveOptions(SHOW_OPTIONS, byProgram(SHOW_OPTIONS, options)));

const capture = captureOf(
  Array.from({ length: 30 }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 1_000,
      lastByteOffsetUs: ((at * 7) % 30) * 1_000,
      status: at === 4 ? 503 : 200,
      traceId: at === 5 ? Buffer.alloc(16, 0xab) : null,
      request: requestMessage({ body: at === 2 ? HOSTILE : Buffer.from([0xff, 0xfe, at]) }),
      response: responseMessage(200, 'x'.repeat(70_000)),
    }),
  ),
);

describe('the requests of a capture', () => {
  test('are listed in order, by slowness, or as far as they failed, with how many there are', () => {
    const first = shown(capture, []);
    expect(shownSchema.parse(first)).toEqual(first);
    expect(first).toMatchObject({ of: 'capture', matching: 30 });
    expect(first.requests).toHaveLength(20);
    const slowest = shown(capture, [], { slowest: '2' }).requests;
    expect(slowest.map(({ ms }) => ms.lastByte)).toEqual([29, 28]);
    expect(shown(capture, [], { slowest: '25' }).requests).toHaveLength(25);
    expect(shown(capture, [], { slowest: '3', limit: '1' }).requests).toHaveLength(1);
    const failures = shown(capture, [], { failed: true });
    expect(failures).toMatchObject({ matching: 1, requests: [{ exchange: `${SEGMENT}:5`, status: 503 }] });
  });

  test.each([
    ['503', [5]],
    ['5xx', [5]],
    ['5XX', [5]],
    ['504', []],
    ['4xx', []],
  ])('could not be chosen by their status: %s', (status, ids) => {
    const { requests } = shown(capture, [], { status });
    expect(requests.map(({ exchange }) => exchange)).toEqual(ids.map((id) => `${SEGMENT}:${id}`));
  });

  test('have the status that a run met, not the recorded one', () => {
    const sends = [send({ index: 0, status: 429 }), send({ index: 1 }), failed(2)];
    const matching = (status: string) =>
      shown(storedRun(sends), [], { status }).requests.map((each) => each.send);
    expect(matching('4xx')).toEqual([0]);
    expect(matching('2xx')).toEqual([1]);
  });

  test('could not be told apart by the route or the model that an objective is on', () => {
    const directory = storedRun([
      send({ index: 0 }),
      send({ index: 1, route: 'POST /predict' }),
      send({ index: 2, route: 'POST /predict', model: 'other' }),
    ]);
    const sent = (options: object) => shown(directory, [], options).requests.map((each) => each.send);
    expect(sent({ route: 'POST /predict' })).toEqual([1, 2]);
    expect(sent({ route: '/predict', slowest: '1', model: 'other' })).toEqual([2]);
    expect(sent({ route: 'GET /predict' })).toEqual([]);
  });

  test('have the trace that their clients sent them in', () => {
    expect(shown(capture, ['6', '7']).requests.map(({ trace }) => trace)).toEqual(['ab'.repeat(16), null]);
  });

  test('have payloads only where they are asked for, and at most so much of a body', () => {
    for (const id of ['3', `${SEGMENT}:3`, `${SEGMENT}.sqlite:3`]) {
      expect(shown(capture, [id]).requests[0]).toMatchObject({ exchange: `${SEGMENT}:3`, payload: null });
    }
    const [text, binary] = shown(capture, ['3', '4'], { payload: true }).requests;
    expect(text?.payload?.request).toMatchObject({ body: HOSTILE, encoding: 'utf8' });
    expect(text?.payload?.response).toMatchObject({ bytes: 70_000, shown: 2_048 });
    const [full] = shown(capture, ['3'], { payload: true, full: true }).requests;
    expect(full?.payload?.response).toMatchObject({ bytes: 70_000, shown: 65_536 });
    expect(binary?.payload?.request).toMatchObject({ body: '//4D', encoding: 'base64', bytes: 3 });
  });

  test.each([['--failed'], ['--slowest', '1'], ['--limit', '1'], ['--status', '4xx']])(
    'are not chosen by a flag that would do nothing beside an id: %s',
    async (...flag) => {
      const { status, stderr } = await runCommand(['show', capture, '3', ...flag]);
      expect(status).toBe(2);
      expect(stderr).toContain(`${flag[0]} has no effect`);
    },
  );

  test('do nothing to a terminal', async () => {
    const plain = await runCommand(['show', capture, '3']);
    expect(plain.stdout).not.toContain('secret');
    const { stdout } = await runCommand(['show', capture, '3', '--payload']);
    expect(stdout).toContain('secret \\x1b[2J\\x202e');
    expect(stdout).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}]/u);
  });

  test.each(['31', 'x:1', '../other:1', 'first'])('are refused by an id that is not there: %s', (id) => {
    expect(() => shown(capture, [id])).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
  });
});

describe('the requests of a traced run', () => {
  const telemetry = { receivers: [], traceShare: 0.5, spans: { traced: 2, delivered: 2, dropped: 0 } };
  const sends = [...Array.from({ length: 8 }, (_, index) => send({ index })), refused(8)];

  test('have the ids of their traces, those that were sent in one', async () => {
    const directory = storedRun(sends);
    const summary = join(directory, 'summary.json');
    writeFileSync(summary, JSON.stringify({ ...JSON.parse(readFileSync(summary, 'utf8')), telemetry }));
    const sample = new TraceSample(run().id, 0.5);
    const expected = sends.map(({ index, refused: no }) => (no ? null : (sample.of(index)?.traceId ?? null)));
    expect(shown(directory, []).requests.map(({ trace }) => trace)).toEqual(expected);
    const [first] = expected.filter((each) => each !== null);
    expect((await runCommand(['show', directory])).stdout).toContain(`${first}`);
  });

  test('have none where the run was merged: its shards had ids of their own', () => {
    const directory = storedRun(sends, { run: { options: { traceSample: 0.5 } } });
    expect(shown(directory, []).requests.every(({ trace }) => trace === null)).toBe(true);
  });
});

describe('the requests of a run', () => {
  const recorded = { status: 200, bytes: 5, streamed: false, tookNs: 4 * MS, tellsError: false };
  const run = storedRun(
    [
      send({ index: 0, warmup: true }),
      send({ index: 1, actualOffsetNs: 103 * MS, exchangeId: 3, recorded }),
      failed(2),
      refused(3),
      send({ index: 4, lastByteOffsetNs: 900 * MS }),
    ],
    { run: { capture } },
  );

  test('are those of the judged part, with how late they left and what was recorded', () => {
    const { matching, requests } = shown(run, []);
    expect(matching).toBe(4);
    expect(requests.map(({ send: at, result }) => [at, result])).toEqual([
      [1, 'completed'],
      [2, 'reset'],
      [3, 'refused'],
      [4, 'completed'],
    ]);
    expect(requests[0]).toMatchObject({ ms: { sent: 3, lastByte: 13 }, recorded: { ms: 4, bytes: 5 } });
    expect(requests[2]?.ms).toEqual({ sent: null, firstByte: null, firstToken: null, lastByte: null });
    expect(shown(run, [], { failed: true }).requests.map((each) => each.send)).toEqual([2]);
    expect(shown(run, [], { slowest: '1' }).requests.map((each) => each.send)).toEqual([4]);
    expect(() => shown(run, ['9'])).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
  });

  test('have the payloads of the capture that the run names', () => {
    const [found] = shown(run, ['1'], { payload: true }).requests;
    expect(found?.payload?.request?.body).toBe(HOSTILE);
    const gone = storedRun([send({ index: 1 })], { run: { capture: '/nowhere' } });
    expect(() => shown(gone, ['1'], { payload: true })).toThrow(
      expect.objectContaining({ code: 'CAPTURE_NOT_FOUND', hint: expect.stringContaining('--capture') }),
    );
  });
});
