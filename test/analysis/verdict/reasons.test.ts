import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REASON_CODES, reason } from '../../../src/analysis/verdict/reasons.ts';
import { parseSlo } from '../../../src/analysis/verdict/slo.ts';
import { REASONS } from '../../support/reasons.ts';
import { repositoryRoot } from '../../support/shared-data.ts';

const [threshold] = parseSlo(['latency: p(99)<200']);
if (threshold === undefined) throw new Error('no objective');

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
  const facts = { p99Ms: 12, maxMs: 40, boundMs: 10, violated: [] };
  expect(reason('lag_over_bound', facts).severity).toBe('note');
  expect(reason('lag_over_bound', facts, 'doubt').severity).toBe('doubt');
  expect(reason('slo_violated', { threshold, observed: null }).severity).toBe('fail');
});

const SEVERITIES = { fail: 'FAIL', doubt: 'INCONCLUSIVE', note: 'note' } as const;

test('the page on verdicts has every code with its words, and no other', () => {
  const page = readFileSync(join(repositoryRoot, 'docs', 'verdict.md'), 'utf8');
  const sections = page.split('\n### ').slice(1);
  expect(sections.map((section) => /^`(\w+)`/.exec(section)?.[1])).toEqual(REASON_CODES);
  for (const [at, { code, severity, title, text, means, advice }] of REASONS.entries()) {
    const lines = sections[at]?.split('\n## ')[0]?.trim().split(/\n+/);
    expect(lines).toEqual([`\`${code}\``, `**${title}.** ${means}`, `> ${text}`, advice]);
    expect(page).toContain(`| [\`${code}\`](#${code}) | ${SEVERITIES[severity]} | ${title} |`);
  }
});
