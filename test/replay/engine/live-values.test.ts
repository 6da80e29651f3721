import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import type { AnswerFields, AnswerHead } from '../../../src/replay/answers/read-answer.ts';
import { type LiveRequest, LiveValues } from '../../../src/replay/engine/live-values.ts';
import type { DivergencePolicy, LivePart, TakenValue } from '../../../src/replay/engine/messages.ts';
import { syntheticRequest } from '../../../src/replay/engine/rehearsal.ts';

const ID = { in: 'json', pointer: '/id' } as const;
const CALL = { in: 'event', event: 'item', pointer: '/call_id', nth: 1 } as const;

function request(index: number, live: Partial<LivePart> = {}): LiveRequest {
  const part = { session: 1, issues: [], users: 0, takes: [], echoes: [], ...live };
  return { ...syntheticRequest(index, index * 1e6, Buffer.from('{"previous":"old"}')), live: part };
}
const takes = (from: number, at = 0): TakenValue[] => [
  { from, at, to: { in: 'json', pointer: '/previous' } },
];
const issuing = (index: number, users = 1, issues: LivePart['issues'] = [ID]) =>
  request(index, { issues, users });

function head(fields: AnswerFields = {}, contentType = 'application/json'): AnswerHead {
  return { contentType, contentEncoding: null, hasLength: false, fields };
}

function answer(values: LiveValues, to: LiveRequest, body: string | Buffer, of = head()): void {
  const reader = values.answerBegins(to.index, to.live, of, 0);
  reader?.write(Buffer.from(body));
  reader?.end();
  values.ended(to.index);
}

function valuesWith(onDivergence: DivergencePolicy = 'recorded'): LiveValues {
  return new LiveValues({ onDivergence, affinity: ['x-session-token'] }, () => 0);
}
const bodyOf = (values: LiveValues, one: LiveRequest) => values.resolve(one)?.body?.toString() ?? null;

describe('values of answers', () => {
  it('release a request as soon as its value is there, and only then', () => {
    const values = valuesWith();
    const [first, second] = [issuing(0, 1, [CALL]), request(1, { takes: takes(0) })];
    values.begin(first);
    values.begin(second);
    expect(values.mustWait(second)).toBe(true);
    let released = 0;
    values.wait(second, () => (released += 1));
    const reader = values.answerBegins(0, first.live, head({}, 'text/event-stream'), 0);
    const event = (id: string) => Buffer.from(`event: item\ndata: {"call_id":"${id}"}\n\n`);
    reader?.write(event('call_a1b2c3'));
    reader?.write(event('call_a1b2c3'));
    expect(released).toBe(0);
    reader?.write(event('call_d4e5f6'));
    expect(released).toBe(1);
    expect(bodyOf(values, second)).toBe('{"previous":"call_d4e5f6"}');
    reader?.end();
    values.ended(0);
    expect([released, values.counts()]).toEqual([
      1,
      { linked: 1, waited: 1, diverged: 0, skipped: 0, forgotten: 0 },
    ]);
  });

  it('are read from compressed answers', () => {
    const values = valuesWith();
    const first = issuing(0);
    values.begin(first);
    answer(values, first, gzipSync('{"id":"resp_1"}'), { ...head(), contentEncoding: 'gzip' });
    expect(bodyOf(values, request(1, { takes: takes(0) }))).toBe('{"previous":"resp_1"}');
  });

  it.each([
    ['an error', '{"error":{}}'],
    ['an answer that was cut', '{"id":"resp_1","out'],
    ['an answer over the limit', `{"id":"resp_1","x":"${'x'.repeat(LIMITS.issuingAnswerBytes)}"}`],
    ['a number', '{"id":7}'],
  ])('that are missing, as in %s, are handled by the rule', (_, body) => {
    for (const rule of ['recorded', 'skip', 'end-session'] as const) {
      const values = valuesWith(rule);
      const first = issuing(0, 2);
      values.begin(first);
      answer(values, first, body);
      const second = request(1, { takes: takes(0) });
      expect(values.mustWait(second)).toBe(false);
      expect(bodyOf(values, second)).toBe(rule === 'recorded' ? '{"previous":"old"}' : null);
      expect(bodyOf(values, request(2))).toBe(rule === 'end-session' ? null : '{"previous":"old"}');
      expect(bodyOf(values, request(3, { session: 2 }))).toBe('{"previous":"old"}');
      expect(values.counts()).toMatchObject({
        diverged: 1,
        skipped: rule === 'recorded' ? 0 : rule === 'skip' ? 1 : 2,
      });
    }
  });

  it('wait for no request that is not sent, so that requests that name each other go on', () => {
    const values = valuesWith();
    const [one, other] = [
      request(0, { issues: [ID], users: 1, takes: takes(1) }),
      request(1, { issues: [ID], users: 1, takes: takes(0) }),
    ];
    values.begin(one);
    expect(values.mustWait(one)).toBe(false);
    values.begin(other);
    expect(values.mustWait(other)).toBe(true);
  });

  it('are freed with their last user, and the oldest are given up beyond the limit', () => {
    const values = valuesWith();
    const first = issuing(0, 1);
    values.begin(first);
    answer(values, first, '{"id":"resp_1"}');
    expect(bodyOf(values, request(1, { takes: takes(0) }))).toContain('resp_1');
    expect(bodyOf(values, request(2, { takes: takes(0) }))).toContain('old');
    for (let index = 3; index < LIMITS.liveExchanges + 13; index += 1) {
      values.begin(issuing(index));
      values.ended(index);
    }
    expect(values.counts().forgotten).toBe(10);
  });
});

describe('cookies and headers of a session', () => {
  it('are sent back where the recorded request had such, the latest ones, each session its own', () => {
    const values = valuesWith();
    const echoes = ['cookie', 'x-session-token'];
    const fields = { 'set-cookie': ['route=a1; Path=/', 'lang=de'], 'x-session-token': 't1' };
    answer(values, request(0), '{}', head(fields));
    answer(values, request(1), '{}', head({ 'set-cookie': 'route=b2' }));
    const { headers = [] } = values.resolve(request(2, { echoes })) ?? {};
    expect(headers.slice(-4)).toEqual(['cookie', 'route=b2; lang=de', 'x-session-token', 't1']);
    expect(values.resolve(request(3))?.headers).not.toContain('cookie');
    expect(values.resolve(request(4, { echoes, session: 2 }))?.headers).not.toContain('cookie');
  });

  it('of a megabyte are cut at the limit and counted', () => {
    const values = valuesWith();
    const cookies = Array.from({ length: 1_024 }, (_, at) => `c${at}=${'x'.repeat(1_024)}`);
    answer(values, request(0), '{}', head({ 'set-cookie': cookies }));
    const sent = values.resolve(request(1, { echoes: ['cookie'] }))?.headers.at(-1) ?? '';
    expect(sent.length).toBeLessThanOrEqual(LIMITS.liveCookieBytes + 64);
    expect(values.counts().forgotten).toBeGreaterThan(1_000);
  });
});
