import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { failureAdvice, type SendingSide } from '../../../src/analysis/verdict/advice.ts';
import { REASON_CODES, reason } from '../../../src/analysis/verdict/reasons.ts';
import { uncheckedAdvice } from '../../../src/analysis/verdict/validity.ts';
import { SEND_ERRORS } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { repositoryRoot } from '../../support/shared-data.ts';
import { REASONS } from './reasons.ts';

const [objective] = parseObjectives(['latency: p(99)<200']);
if (objective === undefined) throw new Error('no objective');

test('every code has words of its own: a title, the figures, what it means, and one thing to do', () => {
  expect(REASONS.map(({ code }) => code)).toEqual(REASON_CODES);
  for (const { title, text, means, advice } of REASONS) {
    expect(title).toMatch(/^[A-Z].{8,}[^.]$/);
    expect(text).not.toBe('');
    expect(means).toMatch(/^[A-Z].{20,}\.$/);
    expect(advice).toMatch(/^[A-Z].{20,}[.'`]$/);
  }
  for (const part of ['title', 'means'] as const) {
    expect(new Set(REASONS.map((each) => each[part])).size).toBe(REASONS.length);
  }
});

test('a finding is of the severity of its code, unless it could change the answer this once', () => {
  const side = { busyShare: 0.9, throttled: false, ratePerSecond: 1_000 };
  const facts = { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [], side };
  expect(reason('lag_over_bound', facts).severity).toBe('note');
  expect(reason('lag_over_bound', facts, 'doubt').severity).toBe('doubt');
  expect(reason('slo_violated', { objective, observed: null }).severity).toBe('fail');
});

test('of an objective, the figures of documents have its limit', () => {
  const { figures } = reason('slo_violated', { objective, observed: Number.POSITIVE_INFINITY });
  expect(figures).toEqual({ limit: 200, observed: 'Infinity' });
});

const SEVERITIES = { fail: 'FAIL', doubt: 'INCONCLUSIVE', note: 'note' } as const;

test('the page on verdicts has every code with its words, and no other', () => {
  const page = readFileSync(join(repositoryRoot, 'docs', 'guides', 'reading-a-verdict.md'), 'utf8');
  const sections = page.split('\n### ').slice(1);
  expect(sections.map((section) => /^`(\w+)`/.exec(section)?.[1])).toEqual(REASON_CODES);
  for (const [at, { code, severity, title, text, means, advice }] of REASONS.entries()) {
    const lines = sections[at]?.split('\n## ')[0]?.trim().split(/\n+/);
    expect(lines).toEqual([`\`${code}\``, `**${title}.** ${means}`, `> ${text}`, advice]);
    expect(page).toContain(`| [\`${code}\`](#${code}) | ${SEVERITIES[severity]} | ${title} |`);
  }
});

describe('what to do', () => {
  const late = (side: SendingSide) =>
    reason('lag_over_bound', { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [], side }).advice;

  test('asks for less load only where the sender was short of time', () => {
    expect(late({ busyShare: 0.03, throttled: false, ratePerSecond: 1.6 })).toContain(
      'busy only 3.0 % of the time at 1.6/s',
    );
    expect(late({ busyShare: 0.03, throttled: false, ratePerSecond: 1.6 })).not.toContain('multiplier');
    expect(late({ busyShare: 0.03, throttled: true, ratePerSecond: 1.6 })).toContain('CPU limit');
    expect(late({ busyShare: 0.9, throttled: false, ratePerSecond: 9_000 })).toContain('smaller multiplier');
  });

  test('goes by the way in which requests failed, and says so with their number', () => {
    const failures = { failed: 172, sent: 227, commonest: 'connect_refused', answered: true };
    const observed = Number.POSITIVE_INFINITY;
    const { text, advice } = reason('slo_violated', { objective, observed, failures });
    expect(text).toBe('latency: p(99)<200: 172 of 227 requests failed, most often with connection refused');
    expect(advice).toContain('listens at --target');
    const adviceOf = (commonest: string, answered = true) =>
      failureAdvice({ ...failures, commonest, answered });
    for (const error of SEND_ERRORS) expect(adviceOf(error)).toMatch(/^[A-Z].{20,}\.$/);
    expect(adviceOf('503')).toContain('answers 503');
    // A port of TLS resets or closes every plain request.
    for (const error of ['reset', 'closed_early']) {
      expect(adviceOf(error, false)).toContain('port');
      expect(adviceOf(error)).not.toContain('port');
    }
  });

  test('asks for no more capacity where a time is too short, but who answers', () => {
    for (const expression of ['latency: min>5', 'ttft: min>=20']) {
      const advice = reason('slo_violated', {
        objective: parseObjectives([expression])[0]!,
        observed: 1,
      }).advice;
      expect(advice).toContain('too fast');
      expect(advice).not.toContain('capacity');
    }
    expect(reason('slo_violated', { objective, observed: 240 }).advice).toContain('capacity');
    const [share] = parseObjectives(['goodput: rate>0.9 where ttft<500']);
    expect(reason('slo_violated', { objective: share!, observed: 0.5 }).advice).toContain('capacity');
  });

  test('names no flag that the load refuses: a rate and a closed loop have no multiplier and no shards', () => {
    const caps = [{ flag: '--max-in-flight', limit: '8', refused: 5 }];
    const failures = { failed: 5, sent: 9, commonest: 'total_timeout', answered: true };
    const short = { expression: 'x', floor: 662, samples: 331, gapless: false, parts: ['x'], spanMs: 60_000 };
    const unsent = { sent: 1, planned: 2, atLeast: false, violated: [] };
    const waitMs = { p50: 1, p99: 1, max: 1 };
    const waits = { late: 1, all: 2, unsent: 0, boundMs: 1, waitMs, violated: [] };
    const repeats = { time: 'latency', pairs: 9, firstMs: 2, repeatMs: 1, faster: true } as const;
    const counts = { series: 1, samples: 1, missing: 1, unkept: 0, floor: 2, mostMissed: 0.05 };
    const monitored = { expression: 'gpu: max<1', ...counts };
    const advices = (scaling: string) => [
      late({ busyShare: 0.9, throttled: false, ratePerSecond: 9_000, scaling }),
      reason('sender_busy', { share: 0.9, bound: 0.8, scaling }).advice,
      reason('in_flight_cap', { refused: 5, caps, violated: [], scaling }).advice,
      reason('slo_violated', { objective, observed: 240, failures: { ...failures, scaling } }).advice,
      reason('too_few_samples', { ...short, scaling }).advice,
      reason('achieved_below', { ...unsent, caps: [], why: 'connections', scaling }).advice,
      reason('multiplier_not_reached', { reached: '2x', asked: 1, waitsFor: 'connections', scaling }).advice,
      reason('connection_wait', { ...waits, scaling }).advice,
      uncheckedAdvice('backlog', scaling),
    ];
    const ofWindow = (scaling?: string) => [
      reason('multiplier_not_reached', { reached: '2x', asked: 1, waitsFor: null, scaling }).advice,
      reason('nothing_planned', { elsewhere: 0, scaling }).advice,
      reason('interrupted', { cause: 'SIGINT', sent: 1, planned: 2, failures: null, scaling }).advice,
      reason('repeats_cached', { ...repeats, scaling }).advice,
      reason('not_monitored', { ...monitored, scaling }).advice,
    ];
    for (const advice of ofWindow('rate'))
      expect(advice).not.toMatch(/multiplier|--scaling (?!perturb)|--loop|window/);
    for (const advice of ofWindow()) expect(advice).toContain('window');
    for (const advice of advices('rate')) expect(advice).toMatch(/smaller --rate|a --duration 2/);
    for (const advice of ['rate', 'closed'].flatMap(advices))
      expect(advice).not.toMatch(/multiplier|--shard|window/);
    for (const advice of advices('compress')) expect(advice).toMatch(/multiplier|--shard|window/);
  });

  test('says how much longer a window must be, and what its answers are enough for', () => {
    const facts = { expression: 'x', floor: 662, samples: 331, gapless: false, parts: ['x'], spanMs: 60_000 };
    const { advice } = reason('too_few_samples', facts);
    expect(advice).toBe(
      'Replay a window 2.0 times as long (2.0 min at this rate), or judge p(95): 331 samples are enough.',
    );
    const nearly = reason('too_few_samples', { ...facts, samples: 650 }).advice;
    expect(nearly).toContain('Replay a window 1.1 times as long (66.0 s at this rate)');
    expect(reason('too_few_samples', { ...facts, samples: 600 }).advice).toContain('1.2 times as long');
    expect(reason('too_few_samples', { ...facts, samples: 0 }).advice).toBe('Replay a longer window.');
  });
});
