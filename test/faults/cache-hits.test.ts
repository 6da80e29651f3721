import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ComparisonDocument } from '../../src/documents/comparison.ts';
import type { ProfileDocument } from '../../src/documents/profile.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import type { ReplayPlanDocument } from '../../src/documents/replay-plan.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { converse, PromptCacheServer } from '../support/prompt-cache.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, type Replayed, replayHere } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SYSTEM = 'You answer the questions of customers about their orders, briefly and politely. '.repeat(6);
const [CHATS, TURNS] = [6, 4];

/** Conversations with a common system prompt, two at a time. */
async function talk(port: number): Promise<void> {
  for (let chat = 0; chat < CHATS; chat += 2)
    await Promise.all(
      [chat, chat + 1].map((each) =>
        converse(port, { chat: `customer ${each}`, turns: TURNS, system: SYSTEM }),
      ),
    );
}

async function recorded(server: PromptCacheServer): Promise<string> {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(server.port, directory, ['--identify-session', 'x-session-id']);
  await talk(recording.port);
  expect((await recording.stop()).status).toBe(0);
  return directory;
}

let capture: string;
let uncached: string;
let target: PromptCacheServer;
beforeAll(async () => {
  capture = await recorded(await new PromptCacheServer().listen());
  const production = await new PromptCacheServer().listen();
  production.keeps = 0;
  uncached = await recorded(production);
});
beforeEach(async () => {
  target = await new PromptCacheServer().listen();
});

const TTFT = ['--slo', 'ttft: p(40)<2000'];
const codesOf = (found: readonly { readonly code: string }[]) => found.map(({ code }) => code);

async function replayed(of: string, ...args: string[]): Promise<Replayed & { document: ReplayDocument }> {
  const run = await replayHere(of, target.url, ['--json', '--confidence', 'point', ...args]);
  return { ...run, document: documentOf(run) };
}

describe('hits of a cache of prompts', () => {
  it('are in the rows and the sums of a run, beside the recorded ones of the same requests', async () => {
    const { document, out } = await replayed(capture, ...TTFT);
    const { cacheHits } = document;
    expect(cacheHits?.sent?.answers).toBe(CHATS * TURNS);
    expect(cacheHits?.recorded?.promptTokens).toBe(cacheHits?.sent?.promptTokens);
    expect(cacheHits?.both).toEqual({ sent: cacheHits?.sent, recorded: cacheHits?.recorded });
    expect(Math.abs((cacheHits?.sent?.share ?? 0) - (cacheHits?.recorded?.share ?? 1))).toBeLessThan(0.03);
    expect(cacheHits?.recorded?.share).toBeGreaterThan(0.6);
    expect(codesOf([...document.reasons, ...document.notes])).not.toContain('cache_unlike');
    const reader = new RunReader(out);
    const rows = [...reader.sends()];
    reader.close();
    const sum = (of: (row: (typeof rows)[number]) => number | null | undefined) =>
      rows.reduce((total, row) => total + (of(row) ?? 0), 0);
    expect(sum(({ answer }) => answer?.cachedTokens)).toBe(cacheHits?.sent?.cachedTokens);
    expect(sum((row) => row.recorded?.cachedTokens)).toBe(cacheHits?.recorded?.cachedTokens);
    const page = join(out, 'report.html');
    expect((await runCommand(['report', out, '--html', page])).status).toBe(0);
    const [, share] = /prompt tokens from a cache: ([\d.]+)/.exec(readFileSync(page, 'utf8')) ?? [];
    expect(Number(share)).toBeCloseTo(100 * (cacheHits?.sent?.share ?? 0), 0);
  });

  it('that are more than recorded decide nothing about first tokens, and are else a note', async () => {
    const judged = await replayed(uncached, ...TTFT);
    expect([judged.status, judged.document.verdict]).toEqual([4, 'INCONCLUSIVE']);
    const found = judged.document.reasons.find(({ code }) => code === 'cache_unlike');
    expect(found?.about).toEqual([judged.document.slo[0]?.expression]);
    expect(found?.figures).toMatchObject({ recorded: 0, answers: CHATS * TURNS });
    target.empty();
    const other = await replayed(uncached, '--slo', 'latency: p(40)<2000');
    expect(codesOf(other.document.reasons)).not.toContain('cache_unlike');
    expect(codesOf(other.document.notes)).toContain('cache_unlike');
  });

  it('that are fewer than recorded fail no objective on first tokens, and excuse no other', async () => {
    target.keeps = 0;
    target.perTokenMs = 0.2;
    const first = await replayed(capture, '--slo', 'ttft: p(40)<10');
    expect([first.status, first.document.verdict]).toEqual([4, 'INCONCLUSIVE']);
    expect(first.document.slo[0]?.ok).toBe(false);
    expect(codesOf(first.document.reasons)).toContain('cache_unlike');
    const goodput = await replayed(capture, '--slo', 'goodput: rate>0.99 where ttft<10');
    expect(codesOf(goodput.document.reasons)).toContain('cache_unlike');
    expect(goodput.status).toBe(4);
    const whole = await replayed(capture, '--slo', 'latency: p(40)<10');
    expect([whole.status, whole.document.verdict]).toEqual([3, 'FAIL']);
  });

  it('that more than recorded do not excuse a first token that is late even so', async () => {
    target.perTokenMs = 0.2;
    const { document, status } = await replayed(uncached, '--slo', 'ttft: p(40)<1');
    expect([status, document.verdict]).toEqual([3, 'FAIL']);
    expect(codesOf(document.notes)).toContain('cache_unlike');
  });

  it('are what the target itself counted, where its metrics are read', async () => {
    const { document, out } = await replayed(capture, '--monitor', 'target', '--monitor', 'interval=100ms');
    const counted = document.monitors?.series.find(({ name }) => name === 'prefix_cache_hit_rate');
    expect(counted).toMatchObject({ kind: 'mean', unit: 'share' });
    expect(counted?.change).toBeCloseTo(document.cacheHits?.sent?.share ?? 0, 5);
    const page = join(out, 'report.html');
    expect((await runCommand(['report', out, '--html', page])).status).toBe(0);
    expect(readFileSync(page, 'utf8')).toContain('from its cache over the run');
  });

  it('that only one side reports are shown and not compared', async () => {
    target.reports = false;
    const { document } = await replayed(capture, ...TTFT);
    expect(document.cacheHits).toMatchObject({ sent: null, both: null });
    expect(document.cacheHits?.recorded?.share).toBeGreaterThan(0.6);
    expect(codesOf([...document.reasons, ...document.notes])).not.toContain('cache_unlike');
  });
});

describe('copies of sessions', () => {
  const AMPLIFIED = ['--multiplier', '3', '--scaling'];
  const beginnings = () => new Set(target.prompts.map((prompt) => prompt.slice(0, 80)));

  it('reuse their own turns, as much as was recorded, with prompts of their own and of equal length', async () => {
    const { document } = await replayed(capture, ...TTFT, ...AMPLIFIED, 'amplify,jitter=200ms');
    expect(document.scalingPlan).toMatchObject({
      copyPrompts: 'own',
      counts: { copies: 2 * CHATS * TURNS, ownPrompts: 2 * CHATS * TURNS, samePrompts: 0 },
    });
    const both = document.cacheHits?.both;
    expect(both?.sent.promptTokens).toBe(both?.recorded.promptTokens);
    expect(Math.abs((both?.sent.share ?? 0) - (both?.recorded.share ?? 1))).toBeLessThan(0.05);
    expect(codesOf([...document.reasons, ...document.notes])).not.toContain('cache_unlike');
    // One beginning for each number of a copy, shared by all its sessions.
    expect(beginnings().size).toBe(3);
    expect(new Set([...beginnings()].map((each) => each.split(' ').sort().join(' '))).size).toBe(1);
  });

  it('meet a cache that has their prompts, if they have those of their originals', async () => {
    const args = [...AMPLIFIED, 'amplify,jitter=200ms,copy-prompts=same'];
    const { document } = await replayed(capture, ...TTFT, ...args);
    expect(document.scalingPlan?.copyPrompts).toBe('same');
    expect(document.scalingPlan?.counts).toMatchObject({ ownPrompts: 0, samePrompts: 0 });
    expect(beginnings().size).toBe(1);
    const both = document.cacheHits?.both;
    expect((both?.sent.share ?? 0) - (both?.recorded.share ?? 1)).toBeGreaterThan(0.05);
    expect(codesOf(document.reasons)).toContain('cache_unlike');
  });

  it('are compared with those of another run only if both have prompts alike', async () => {
    const runs = [];
    for (const prompts of ['own', 'same'])
      runs.push(await replayed(capture, ...AMPLIFIED, `amplify,copy-prompts=${prompts}`));
    const [own, same] = runs.map(({ out }) => out) as [string, string];
    const refused = await runCommand(['compare', own, same]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('copyPrompts');
  });

  it('are refused a word that is neither', async () => {
    const { status, stderr } = await replayHere(capture, target.url, ['--scaling', 'copy-prompts=other']);
    expect(status).toBe(2);
    expect(stderr).toContain('copy-prompts');
  });

  it.each(['compress', 'amplify', 'superpose', 'thin'])(
    'are part of what a plan says about reuse: %s',
    async (scaling) => {
      const multiplier = scaling === 'thin' ? '0.5' : scaling === 'superpose' ? '1' : '2';
      const args = ['--dry-run', '--multiplier', multiplier, '--scaling', scaling];
      const { stdout } = await runCommand(['replay', capture, ...args, '--json']);
      const { scalingPlan } = JSON.parse(stdout) as ReplayPlanDocument;
      expect(scalingPlan.copyPrompts).toBe('own');
      const shown = await runCommand(['replay', capture, ...args]);
      expect(shown.stdout).toContain(`prompts in a cache: ${scalingPlan.reuse}`);
    },
  );
});

async function compared(...sides: string[]): Promise<ComparisonDocument> {
  const { stdout, stderr } = await runCommand(['compare', ...sides, '--json']);
  expect(stdout, stderr).not.toBe('');
  return JSON.parse(stdout) as ComparisonDocument;
}

describe('reprise compare', () => {
  it('shows the hits of two runs, or of a run and its recording, and notes a difference', async () => {
    const warm = await replayed(capture);
    target.keeps = 0;
    target.empty();
    const cold = await replayed(capture);
    const runs = await compared(warm.out, cold.out);
    const share = warm.document.cacheHits?.sent?.share;
    expect(runs.cacheHits).toEqual({ a: share, b: 0 });
    expect(codesOf(runs.notes)).toContain('cache_hits_differ');
    const alike = await compared(capture, warm.out);
    expect(alike.cacheHits).toEqual({ a: warm.document.cacheHits?.recorded?.share, b: share });
    expect(codesOf(alike.notes)).not.toContain('cache_hits_differ');
    const shown = await runCommand(['compare', warm.out, cold.out, '--verbose']);
    expect(shown.stdout).toMatch(/from a cache: A \d\d(\.\d)? %, B 0/);
  });

  it('holds the bound of reuse and the hits of two profiles against each other', async () => {
    const profileOf = async (of: string) => {
      const file = join(temporaryDirectory(), 'profile.json');
      const { stdout, status } = await runCommand(['profile', of, '--json']);
      expect(status).toBe(0);
      writeFileSync(file, stdout);
      return { file, reuse: (JSON.parse(stdout) as ProfileDocument).reuse };
    };
    const [a, b] = [await profileOf(capture), await profileOf(uncached)];
    const { metrics } = await compared(a.file, b.file);
    const named = (name: string) => metrics.find((metric) => metric.name === name);
    // The prompts are the same, and only one server had a cache.
    expect(named('prompt_reuse_bound')).toMatchObject({ a: a.reuse?.upperBound, verdict: 'same' });
    expect(named('cache_hits')).toMatchObject({ a: a.reuse?.reported?.share, b: 0, verdict: 'worse' });
    expect(a.reuse?.upperBound).toBeGreaterThanOrEqual(a.reuse?.reported?.share ?? 1);
    expect(Math.abs((a.reuse?.upperBound ?? 0) - (b.reuse?.upperBound ?? 1))).toBeLessThan(0.02);
  });
});
