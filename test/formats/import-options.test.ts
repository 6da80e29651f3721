import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import { type ArrivalFlags, readingOf } from './support.ts';

test('times are ISO 8601 unless a unit is given, and numbers count from the epoch unless an origin is', () => {
  expect(readingOf({ time: 'TIMESTAMP' })).toEqual({
    fields: { time: 'TIMESTAMP', client: null, session: null, promptTokens: null, outputTokens: null },
    time: { unit: 'iso', gaps: false, originUs: 0 },
    payloads: null,
    prompts: null,
  });
  expect(readingOf({ time: 't', unit: 'ms', gaps: true, origin: '1970-01-02' }).time).toEqual({
    unit: 'ms',
    gaps: true,
    originUs: 86_400_000_000,
  });
});

test('payloads are drawn by seed 1 and bare bodies are posted, unless said otherwise', () => {
  expect(readingOf({ time: 't', payloads: 'p.jsonl' }).payloads).toEqual({
    source: 'p.jsonl',
    seed: 1,
    method: 'POST',
    path: null,
  });
  const raw = { time: 't', payloads: 'p', requestPath: '/x', requestMethod: 'PUT', seed: '7' };
  expect(readingOf(raw).payloads).toEqual({ source: 'p', seed: 7, method: 'PUT', path: '/x' });
});

describe('options that make no sense are refused', () => {
  function problemsOf(raw: ArrivalFlags): string {
    try {
      readingOf(raw);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(AppError);
      expect((thrown as AppError).code).toBe('OPTION_INVALID');
      return (thrown as AppError).message;
    }
    return expect.unreachable('the options should have been refused');
  }

  test.each<[ArrivalFlags, string]>([
    [{ time: 't', unit: 'min' }, '--unit: "min" is none of: s, ms, us, ns, iso'],
    [{ time: 't', unit: 'constructor' }, '--unit: "constructor" is none of'],
    [{ time: 't', gaps: true }, '--gaps needs a --unit'],
    [{ time: 't', origin: '2026-01-01' }, '--origin needs numeric times'],
    [{ time: 't', unit: 's', origin: 'yesterday' }, '--origin: "yesterday" is not an instant'],
    [{ time: 't', unit: 's', origin: '1969-12-31' }, '--origin is before 1970'],
    [{ time: '' }, '--time is empty'],
    [{ time: 't', payloads: 'p', seed: '-1' }, '--seed: "-1" is not a whole number'],
    [{ time: 't', payloads: 'p', seed: '9007199254740992' }, '--seed: "9007199254740992" is not a whole'],
    [{ time: 't', seed: '1' }, '--seed needs --payloads'],
    [{ time: 't', requestPath: '/x' }, '--request-path needs --payloads or --build-prompts'],
    [{ time: 't', buildPrompts: 'm' }, '--build-prompts needs --request-path'],
    [{ time: 't', buildPrompts: 'm', requestPath: '/x', payloads: 'p' }, 'give one of them'],
  ])('%j', (raw, problem) => {
    expect(problemsOf(raw)).toContain(problem);
  });

  test('all at once', () => {
    const problems = problemsOf({ time: '', unit: 'x', origin: 'y', payloads: 'p', seed: 'z' });
    for (const option of ['--time', '--unit', '--origin', '--seed']) expect(problems).toContain(option);
  });
});
