import { readdirSync, readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Exchange, Message } from '../../src/core/exchange.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import {
  exchangeOf,
  partOfBody,
  requestMessage,
  responseMessage,
  TEST_EPOCH_US,
} from '../support/exchanges.ts';
import { documentOf, replayHere as replay, serverOf } from '../support/replaying.ts';

const COUNT = 40;
const SECRET = 'sk-planted-4711';
const SLO = ['--slo', 'mismatch: rate<0.01; errors: rate<0.5'];
const CHAT = '/v1/chat/completions';

/** What the recorded build answered to the request of this number. */
function answerOf(at: number): object {
  return {
    id: `r-${at}`,
    model_name: 'm',
    model_version: '1',
    outputs: [{ name: 'scores', datatype: 'FP32', shape: [1, 3], data: [0.25 + at, 0.5, 0.25] }],
    note: `${SECRET}-${at}`,
  };
}

function streamOf(tokens: number, finish: string | null): string {
  const events = Array.from({ length: tokens }, (_, at) => ({ choices: [{ delta: { content: `w${at}` } }] }));
  const end = finish === null ? [] : [{ choices: [{ delta: {}, finish_reason: finish }] }];
  const data = [...events, ...end].map((event) => `data: ${JSON.stringify(event)}\n\n`).join('');
  return finish === null ? data : `${data}data: [DONE]\n\n`;
}

function streamMessage(text: string): Message {
  const message = responseMessage(200, text);
  return {
    ...message,
    head: Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n', 'latin1'),
  };
}

function recorded(response: (at: number) => Message): Exchange[] {
  return Array.from({ length: COUNT }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 2_000,
      request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
      response: response(at),
    }),
  );
}

const JSON_CAPTURE = (): string =>
  captureOf(recorded((at) => responseMessage(200, JSON.stringify(answerOf(at)))));
const STREAM_CAPTURE = (): string =>
  captureOf(
    recorded(() => streamMessage(streamOf(20, 'stop'))).map((exchange) => ({
      ...exchange,
      route: `POST ${CHAT}`,
      streamed: true,
      request: requestMessage({ target: CHAT, body: '{"stream":true,"messages":[]}' }),
    })),
  );

const numberOf = (target: string): number => Number(new URL(target, 'http://h').searchParams.get('n'));
const json = (response: ServerResponse, document: unknown, status = 200): void => {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(document));
};
const stream = (response: ServerResponse, text: string): void => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' }).end(text);
};

async function checked(
  capture: string,
  answer: (at: number, response: ServerResponse) => void,
  args: readonly string[] = SLO,
) {
  const server = await serverOf(({ target }, response) => answer(numberOf(target), response));
  const result = await replay(capture, server.url, ['--json', ...args]);
  return { ...result, document: documentOf(result) };
}

/** Reasons of a machine that had other things to do: they say nothing of the answers. */
const BUSY = new Set(['lag_over_bound', 'arrivals_off_plan', 'generator_paused']);

/** What speaks against a run but our own lateness; what passes on a quiet machine has nothing. */
function doubtsOf({ document, status }: Awaited<ReturnType<typeof checked>>): string[] {
  const codes = document.reasons.map(({ code }) => code);
  if (codes.length === 0) expect([document.verdict, status]).toEqual(['PASS', 0]);
  expect(document.slo[0]?.ok).toBe(codes.includes('answers_unchecked') ? null : true);
  return codes.filter((code) => !BUSY.has(code));
}

describe('replay --check', () => {
  it('passes a server that answers the same, but for what every server writes anew', async () => {
    const run = await checked(JSON_CAPTURE(), (at, response) =>
      json(response, { ...answerOf(at), id: `other-${at}`, model_version: '2' }),
    );
    expect(run.document.check).toMatchObject({
      level: 'values',
      answers: COUNT,
      checked: COUNT,
      mismatched: 0,
      rate: 0,
      unchecked: {},
      examples: {},
      ignored: { asked: [], byProtocol: { v2: ['/id', '/model_version'] } },
    });
    expect(doubtsOf(run)).toEqual([]);
    const reader = new RunReader(run.out);
    expect([...reader.sends()].every(({ check }) => check?.result === 'same')).toBe(true);
    reader.close();
  });

  it.each([
    [
      'another value',
      'values',
      '/outputs/0/data/1',
      (at: number) => ({
        ...answerOf(at),
        outputs: [{ name: 'scores', datatype: 'FP32', shape: [1, 3], data: [0.25 + at, 0.501, 0.25] }],
      }),
    ],
    ['a field that is missing', 'shape', '/note', (at: number) => ({ ...answerOf(at), note: undefined })],
    ['a field too many', 'shape', '/extra', (at: number) => ({ ...answerOf(at), extra: 1 })],
  ] as const)('fails a server that answers with %s', async (_, kind, pointer, answer) => {
    const { document, status, out } = await checked(JSON_CAPTURE(), (at, response) =>
      json(response, at % 4 === 1 ? answer(at) : answerOf(at)),
    );
    expect(document.check).toMatchObject({ mismatched: COUNT / 4, byKind: { [kind]: COUNT / 4 } });
    // Which of them was answered first is chance.
    const { index = 0, ...example } = document.check?.examples[kind]?.[0] ?? {};
    expect(index % 4).toBe(1);
    expect(example).toMatchObject({ exchangeId: index + 1, pointer });
    expect([document.verdict, status]).toEqual(['FAIL', 3]);
    expect(document.reasons.map(({ code }) => code)).toEqual(['slo_violated']);
    // Neither what was recorded nor what was answered stands in any file of the run.
    for (const file of readdirSync(out)) expect(readFileSync(join(out, file)).includes(SECRET)).toBe(false);
    const reader = new RunReader(out);
    const rows = [...reader.sends()].filter(({ check }) => check?.result === 'mismatch');
    reader.close();
    expect(rows.map(({ index }) => index % 4)).toEqual(Array(COUNT / 4).fill(1));
  });

  it('fails a server that answers with another status', async () => {
    const { document, status } = await checked(
      JSON_CAPTURE(),
      (at, response) => json(response, answerOf(at), at === 3 ? 422 : 200),
      ['--check', 'status', ...SLO],
    );
    expect(document.check).toMatchObject({ level: 'status', checked: COUNT, byKind: { status: 1 } });
    expect(status).toBe(3);
  });

  it.each([
    ['breaks off', 'finish', streamOf(8, null)],
    ['ends for another reason', 'finish', streamOf(20, 'length')],
    ['is much shorter', 'length', streamOf(2, 'stop')],
  ] as const)('fails a server whose stream %s', async (_, kind, text) => {
    const { document, status } = await checked(STREAM_CAPTURE(), (_at, response) => stream(response, text), [
      '--slo',
      'mismatch: rate<0.01; errors: rate<=1',
    ]);
    expect(document.check).toMatchObject({ checked: COUNT, byKind: { [kind]: COUNT } });
    expect(status).toBe(3);
  });

  it('passes streams of other words and a like length', async () => {
    const run = await checked(STREAM_CAPTURE(), (_, response) => stream(response, streamOf(15, 'stop')));
    expect(run.document.check).toMatchObject({ checked: COUNT, mismatched: 0 });
    expect(doubtsOf(run)).toEqual([]);
  });

  it('passes nothing of which the bodies were not recorded, unless statuses are all that is asked for', async () => {
    const capture = captureOf(
      recorded((at) => ({
        ...responseMessage(),
        body: partOfBody(Buffer.from(JSON.stringify(answerOf(at))), null),
      })),
    );
    const same = (at: number, response: ServerResponse) => json(response, answerOf(at));
    const run = await checked(capture, same, ['--check']);
    expect(run.document.check).toMatchObject({
      checked: 0,
      rate: null,
      unchecked: { no_recorded_body: COUNT },
    });
    expect(doubtsOf(await checked(capture, same, ['--check=status', ...SLO]))).toEqual([]);
  });

  it('counts what was masked as unchecked, and compares the rest', async () => {
    const capture = captureOf(
      recorded((at) => ({
        ...responseMessage(200, JSON.stringify({ ...answerOf(at), note: 'some other words' })),
        redacted: ['/note', 'set-cookie'],
      })),
    );
    const same = (at: number, response: ServerResponse) => json(response, answerOf(at));
    const run = await checked(capture, same);
    expect(run.document.check).toMatchObject({ checked: 0, mismatched: 0, unchecked: { redacted: COUNT } });
    expect(doubtsOf(run)).toEqual(['answers_unchecked']);
    const left = await checked(capture, same, ['--check', 'ignore=/note', ...SLO]);
    expect(left.document.check).toMatchObject({ checked: COUNT, mismatched: 0 });
    expect(doubtsOf(left)).toEqual([]);
  });
});
