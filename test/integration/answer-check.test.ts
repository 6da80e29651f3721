import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';

const SECRET = 'sk-planted-4711';
const answerOf = (at: number) => ({
  id: `r-${at}`,
  outputs: [{ name: 'y', data: [0.25, 0.5] }],
  note: SECRET,
});

it('a build that answers differently fails, and the run holds nothing of what either said', async () => {
  const capture = captureOf(
    Array.from({ length: 20 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 2_000,
        request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
        response: responseMessage(200, JSON.stringify(answerOf(at))),
      }),
    ),
  );
  const server = await serverOf(({ target }, response) => {
    const at = Number(target.split('=')[1]);
    const other = { outputs: [{ name: 'y', data: [0.25, 0.51] }], note: SECRET };
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(at === 7 ? other : { ...answerOf(at), id: `another-${at}` }));
  });
  const run = await replayHere(capture, server.url, ['--json', '--slo', 'mismatch: rate<0.001']);
  const { check, verdict } = documentOf(run);
  expect([verdict, run.status]).toEqual(['FAIL', 3]);
  expect(check).toMatchObject({
    level: 'values',
    answers: 20,
    checked: 20,
    mismatched: 1,
    rate: 0.05,
    byKind: { values: 1 },
    unchecked: {},
    examples: { values: [{ index: 7, exchangeId: 8, pointer: '/outputs/0/data/1' }] },
  });
  const reader = new RunReader(run.out);
  const results = [...reader.sends()].map((send) => send.check?.result);
  reader.close();
  expect(results).toEqual(Array(20).fill('same').with(7, 'mismatch'));
  for (const file of readdirSync(run.out))
    expect(readFileSync(join(run.out, file)).includes(SECRET)).toBe(false);
  expect(run.stdout + run.stderr).not.toContain(SECRET);
});

it('a gate on answers that were not recorded plays ten minutes before it says so', async () => {
  const capture = captureOf(
    Array.from({ length: 20 }, (_, at) => {
      const response = responseMessage(200, JSON.stringify(answerOf(at)));
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 2_000,
        request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
        response: { ...response, body: { ...response.body, kept: null } },
      });
    }),
  );
  const server = await serverOf((_, response) => response.end('{}'));
  const gate = ['run', '--preset', 'release-gate', capture, '--target', server.url];
  const refused = await runCommand(gate);
  expect([refused.status, refused.stderr]).toEqual([2, expect.stringContaining('--bodies all')]);
  expect(refused.stderr).toContain(capture);
  expect((await runCommand(['replay', capture, '--dry-run', '--slo', 'mismatch: rate<0.01'])).status).toBe(2);
  expect(server.requests).toEqual([]);
  const byStatus = ['--json', '--slo', 'mismatch: rate<0.01', '--check=status'];
  const run = documentOf(await replayHere(capture, server.url, byStatus));
  expect(run.check).toMatchObject({ level: 'status', checked: 20, mismatched: 0 });
});

it.each([
  ['masked requests, which are all the same now,', ['/prompt'], false],
  ['other requests', [], true],
])('equal answers to %s made a run not comparable', async (_, redacted, differs) => {
  const capture = captureOf(
    Array.from({ length: 60 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 2_000,
        request: { ...requestMessage({ body: '{"prompt":"aaaa"}' }), redacted },
        response: responseMessage(200, JSON.stringify({ outputs: [at + 100] })),
      }),
    ),
  );
  const server = await serverOf((_, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end('{"outputs":[500]}');
  });
  const run = await replayHere(capture, server.url, ['--json', '--slo', 'latency: p(50)<5000']);
  const codes = documentOf(run).reasons.map(({ code }) => code);
  expect(codes.includes('not_comparable')).toBe(differs);
});

it.each([
  ['ends for another reason', [], true],
  ['ends where its length was pinned', ['--rewrite', 'output-length=limit'], false],
])('an answer that %s made a run not comparable', async (_, flags, differs) => {
  const chatAnswer = (at: number, reason: string) =>
    JSON.stringify({
      id: `chat-${at}`,
      choices: [{ index: 0, message: { role: 'assistant', content: `answer ${at}` }, finish_reason: reason }],
      usage: { prompt_tokens: 3, completion_tokens: 8 },
    });
  const capture = captureOf(
    Array.from({ length: 60 }, (_, at) => {
      const target = '/v1/chat/completions';
      const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: `question ${at}` }] });
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 2_000,
        route: `POST ${target}`,
        model: 'm',
        ...{ promptTokens: 3, outputTokens: 8, finish: 'stop' },
        request: requestMessage({ target, body }),
        response: responseMessage(200, chatAnswer(at, 'stop')),
      });
    }),
  );
  let sent = 0;
  const server = await serverOf((_, response) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(chatAnswer(sent++, 'length'));
  });
  const run = await replayHere(capture, server.url, [
    ...['--json', '--slo', 'latency: p(50)<5000', '--check', 'off', ...flags],
  ]);
  const { reasons } = documentOf(run);
  expect(reasons.some(({ code }) => code === 'not_comparable')).toBe(differs);
});
