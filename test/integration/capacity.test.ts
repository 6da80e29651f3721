import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readHistory } from '../../src/app/history.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { failing, SLO, search, searchedDocument } from './capacity-search.ts';

describe('a search', () => {
  it('prints its steps and its longest duration before it sends, and sends nothing in a dry run', async () => {
    const server = await serverOf();
    const result = await search(captureOf(requestsOf(100, 10_000)), server.url, [
      '--dry-run',
      '--multiplier',
      '6',
    ]);
    expect(result.status).toBe(0);
    expect(result.stderr).toMatch(/1x, 2x, 4x, 6x \(--multiplier\)/);
    expect(result.stderr).toMatch(/lasts .* at most \(--budget 10\.0 min\)/);
    expect(server.requests).toHaveLength(0);
  });

  it('takes --max-rate as a ceiling, and refuses one below the recorded peak', async () => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(100, 10_000));
    const allowed = await search(capture, server.url, ['--dry-run', '--max-rate', '300']);
    expect(allowed.stderr).toMatch(/1x, 2x, 3x \(--max-rate\)/);
    const refused = await search(capture, server.url, ['--dry-run', '--max-rate', '50']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('is below the recorded peak of 100');
  });

  it.each([
    ['no objective', []],
    ['a budget that is too short', [...SLO, '--budget', '11s', '--step', '5s']],
  ])('ends with a usage error for %s', async (_, args) => {
    const server = await serverOf();
    const result = await runCommand(['capacity', captureOf(requestsOf(20)), '--target', server.url, ...args]);
    expect(result.status).toBe(2);
    expect(server.requests).toHaveLength(0);
  });

  it('never aims at production', async () => {
    const server = await serverOf();
    const result = await search(captureOf(requestsOf(20)), server.url, ['--production-host', '127.0.0.1']);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain('must not hit production');
    expect(server.requests).toHaveLength(0);
  });

  it('says what gave first, keeps each step as a run, and goes on with what it knows', async () => {
    const server = await failing(3);
    const capture = captureOf(requestsOf(300, 10_000));
    const out = join(temporaryDirectory(), 'out');
    const [history, junit] = [join(out, '..', 'history.sqlite'), join(out, '..', 'verdict.xml')];
    const told = ['--name', 'how much', '--history', history, '--ci-report', `junit=${junit}`];
    const args = ['--json', '--out', out, '--multiplier', '1..64', ...told];
    const first = await search(capture, server.url, args);
    const document = searchedDocument(first);
    expect(first.status).toBe(4);
    expect(document).toMatchObject({
      endedBy: 'min_multiplier',
      limitedBy: 'min_multiplier',
      breakingPoint: { passes: null, fails: { multiplier: 1 }, interval: null },
      gaveFirst: { objective: 'errors: rate<0.01', multiplier: 1, observed: 1 },
      noise: { source: 'none' },
    });
    expect(document.steps.map(({ verdict }) => verdict)).toEqual(['FAIL']);
    expect(readFileSync(junit, 'utf8')).toMatch(
      /<testsuite name="how much"[^>]* failures="0" errors="0" skipped="[1-9]/,
    );
    // The search is a test; its steps are none.
    expect(readHistory(history, { name: null }).tests.map(({ test, runs }) => [test, runs.length])).toEqual([
      ['how much', 1],
    ]);
    expect(existsSync(join(out, document.steps[0]?.run ?? '', 'summary.json'))).toBe(true);
    const sent = server.requests.length;
    rmSync(junit);
    const repeated = await search(capture, server.url, args);
    expect(server.requests).toHaveLength(sent);
    expect({ ...searchedDocument(repeated), endedAt: null }).toEqual({ ...document, endedAt: null });
    // What is old is not told as if it were new.
    expect(repeated.stderr).toContain('was over at');
    expect(existsSync(junit)).toBe(false);
    expect(readHistory(history, { name: null }).tests[0]?.runs).toHaveLength(1);
    const other = await search(capture, server.url, [...args, '--slo', 'latency: p(50)<10']);
    expect(other.status).toBe(2);
    expect(other.stderr).toContain('asked for something else');
  });
});

describe('a search on a recording with a few requests whose clients left early', () => {
  /** Two of the hundred requests of each second were left after 20 ms, before an answer that takes 60 ms. */
  const capture = () =>
    captureOf(
      requestsOf(300, 10_000).map((each, at) =>
        at % 50 === 7
          ? {
              ...each,
              outcome: 'client_aborted' as const,
              clientLeftOffsetUs: 20_000,
              status: null,
              firstByteOffsetUs: null,
              lastByteOffsetUs: null,
              response: null,
            }
          : each,
      ),
    );
  const slow = () =>
    serverOf((_, response) => {
      setTimeout(() => response.writeHead(200).end('{"outputs":[]}'), 60);
    });

  it('judges its windows by the answers, which it waits for', async () => {
    const server = await slow();
    const args = ['--json', '--multiplier', '1..1', '--budget', '30s'];
    const document = searchedDocument(await search(capture(), server.url, args));
    const windows = document.steps.flatMap((step) => step.windows);
    expect(windows.length).toBeGreaterThan(0);
    // Whether the host was fast enough is not the subject, so a window may be void for that.
    for (const { doubts, sent, completed } of windows) {
      expect(doubts).not.toContain('censored');
      expect(completed).toBe(sent);
    }
  });

  it('leaves a window undecided if it was told to leave as they did', async () => {
    const server = await slow();
    const args = ['--json', '--multiplier', '1..1', '--cancels', 'replay', '--budget', '20s'];
    const document = searchedDocument(await search(capture(), server.url, args));
    expect(document.breakingPoint.passes).toBeNull();
    for (const window of document.steps.flatMap((step) => step.windows)) {
      expect(window.result).toBe('void');
      expect(window.doubts).toContain('censored');
    }
  });
});
