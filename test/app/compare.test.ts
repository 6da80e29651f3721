import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { comparisonPage } from '../../src/analysis/compare/page.ts';
import { comparisonView } from '../../src/analysis/compare/view.ts';
import { viewMarkdown, viewText } from '../../src/analysis/render/table.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../src/app/compare.ts';
import { byProgram } from '../../src/core/options.ts';
import type { Send } from '../../src/core/run.ts';
import { shownText } from '../../src/core/text.ts';
import type { ComparisonDocument } from '../../src/documents/comparison.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { calmSends, comparedRun } from '../support/compared-runs.ts';
import { exchangeOf, TEST_EPOCH_US } from '../support/exchanges.ts';
import { profileOf } from '../support/profiles.ts';
import { send } from '../support/sends.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 900;
const DEFAULTS = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));
const ALLOWING = resolveCompareOptions(byProgram(COMPARE_OPTIONS, { allowDifferences: true }));

function runsOf(slowdown: number): [string, string] {
  const { a, b } = calmSends(COUNT, slowdown);
  return [comparedRun(a), comparedRun(b)];
}

/** As a run has it that ended before its turn. */
function neverReached(planned: Send): Send {
  const none = { actualOffsetNs: null, startOffsetNs: null, firstByteOffsetNs: null, lastByteOffsetNs: null };
  return { ...planned, ...none, status: null, responseBytes: 0, error: null };
}

describe('reprise compare', () => {
  test('ends with 3 for a slower run, with 0 for the same one, and prints one document', async () => {
    const [a, b] = runsOf(1.2);
    const worse = await runCommand(['compare', a, b, '--json']);
    expect(worse).toMatchObject({ status: 3, stderr: '' });
    const document = JSON.parse(worse.stdout) as ComparisonDocument;
    expect(document).toMatchObject({ schemaVersion: 1, kind: 'comparison', verdict: 'WORSE', pairs: COUNT });
    for (const metric of document.metrics) {
      for (const key of ['name', 'a', 'b', 'ratio', 'interval']) expect(metric).toHaveProperty(key);
    }
    const same = await runCommand(['compare', ...runsOf(1)]);
    expect(same).toMatchObject({ status: 0 });
    expect(same.stdout).toMatch(/^SAME: /);
  });

  test('never says SAME without naming the percentile that could not be compared', async () => {
    const [a, b] = runsOf(1);
    const document = await compareNamed(a, b, DEFAULTS);
    expect(document).toMatchObject({ verdict: 'SAME', undecided: ['latency_p99'] });
    const names = [a, b].map((path) => path.split('/').slice(-2).join('/'));
    const line = `B (${names[1]}) is no slower than A (${names[0]}), and fails no more often, apart from what is undecided: latency p99.`;
    expect(viewText(comparisonView(document))[0]).toBe(`Verdict: SAME. ${line}`);
    expect(viewMarkdown(comparisonView(document))).toContain('is undecided: latency');
    expect(comparisonPage(document, { script: '', style: '' })).toContain(line);
  });

  test('writes a page and Markdown', async () => {
    const [a, b] = runsOf(1);
    const folder = temporaryDirectory();
    const [html, md] = [join(folder, 'c.html'), join(folder, 'c.md')];
    const done = await runCommand(['compare', a, b, '--html', html, '--markdown', md]);
    expect(done, done.stderr).toMatchObject({ status: 0 });
    expect(readFileSync(html, 'utf8')).toContain('Comparison: SAME');
    expect(readFileSync(md, 'utf8')).toMatch(/^# Comparison\n\n\*\*SAME\*\*/);
  });
});

describe('comparing what two names stand for', () => {
  test('is inconclusive where a run is no valid one by our own doing, whatever its figures', async () => {
    const { a, b } = calmSends(COUNT, 1.5);
    const document = await compareNamed(comparedRun(a), comparedRun(b, { interrupted: 'SIGINT' }), DEFAULTS);
    expect(document.verdict).toBe('INCONCLUSIVE');
    expect(document.reasons.map(({ code }) => code)).toEqual(['run_b_interrupted']);
    expect(document.notes.map(({ code }) => code)).toContain('latency_p50_worse');
  });

  test('takes a build for worse whose failures made the guard stop its run', async () => {
    const { a, b } = calmSends(COUNT, 1, (index) => (index % 2 === 0 ? { status: 503 } : {}));
    const stopped = b.map((each, index) => (index < COUNT / 2 ? each : neverReached(each)));
    const run = comparedRun(stopped, { interrupted: 'RUN_ABORTED' });
    const document = await compareNamed(comparedRun(a), run, DEFAULTS);
    expect(document.verdict).toBe('WORSE');
    expect(document.reasons.map(({ code }) => code)).toContain('failed_worse');
  });

  test('takes a build for worse whose failures made the guard stop its run before most of the plan', async () => {
    const { a, b } = calmSends(COUNT, 1, (index) => (index % 2 === 0 ? { status: 503 } : {}));
    const [known, stopped] = [comparedRun(a), b.slice(0, COUNT / 2)];
    // A merged run says of which shard it was.
    for (const interrupted of ['RUN_ABORTED', 'shard 0: RUN_ABORTED']) {
      const document = await compareNamed(known, comparedRun(stopped, { interrupted }), DEFAULTS);
      expect(document).toMatchObject({ verdict: 'WORSE', pairs: COUNT / 2, unpaired: { onlyA: COUNT / 2 } });
    }
    const other = await compareNamed(comparedRun(stopped, { interrupted: 'RUN_ABORTED' }), known, DEFAULTS);
    expect(other).toMatchObject({ pairs: COUNT / 2, unpaired: { onlyB: COUNT / 2 } });
    // What it did get to is still asked for, and of a run that was not stopped all is.
    const holes = comparedRun(
      stopped.filter((_, index) => index % 4 !== 1),
      { interrupted: 'RUN_ABORTED' },
    );
    for (const run of [holes, comparedRun(stopped)]) {
      await expect(compareNamed(known, run, DEFAULTS)).rejects.toThrow('requests are on this side only');
    }
  });

  test('a build that serves nothing, and so was stopped after few requests, was undecided', async () => {
    const known = comparedRun(calmSends(COUNT, 1).a);
    for (const status of [404, 503]) {
      const { b } = calmSends(COUNT, 1, () => ({ status }));
      const stopped = comparedRun(b.slice(0, 25), { interrupted: 'RUN_ABORTED' });
      const document = await compareNamed(known, stopped, DEFAULTS);
      expect(document).toMatchObject({ verdict: 'WORSE', pairs: 25 });
      expect(document.reasons.map(({ code }) => code)).toEqual(['unserved']);
      const stop = document.notes.find(({ code }) => code === 'run_b_interrupted');
      expect(stop?.advice).not.toMatch(/to its end|shorter window/);
    }
  });

  test('a run stopped with Ctrl-C was refused without a word of why, and never is SAME', async () => {
    const { a, b } = calmSends(COUNT, 1);
    const [known, half] = [comparedRun(a), b.slice(0, COUNT / 2)];
    for (const interrupted of ['SIGINT', 'RUN_ABORTED']) {
      const stopped = comparedRun(half, { interrupted });
      for (const [one, other, side] of [
        [known, stopped, 'B'],
        [stopped, known, 'A'],
      ] as const) {
        const document = await compareNamed(one, other, DEFAULTS);
        expect(document).toMatchObject({ verdict: 'INCONCLUSIVE', pairs: COUNT / 2 });
        expect(document.reasons[0]).toMatchObject({ code: `run_${side.toLowerCase()}_interrupted` });
        const text = viewText(comparisonView(document)).join('\n');
        expect(text).toMatch(
          new RegExp(
            `^ {2}${side}: .*stopped \\((Ctrl-C|most requests failed or were rejected)\\) after 450 of `,
            'm',
          ),
        );
        expect(text).toContain(`reprise report ${side === 'A' ? one : other}`);
      }
    }
  });

  test('takes a build for worse that leaves requests open until the run gives them up', async () => {
    const openFor = (ms: number) => (index: number) =>
      index % 12 === 0
        ? { error: 'stopped' as const, status: null, lastByteOffsetNs: index * 20e6 + ms * 1e6 }
        : {};
    const { a, b } = calmSends(COUNT, 1, openFor(30_000));
    const known = comparedRun(a);
    for (const facts of [{}, { interrupted: 'RUN_ABORTED' }, { interrupted: 'shard 1: RUN_ABORTED' }]) {
      const document = await compareNamed(known, comparedRun(b, facts), DEFAULTS);
      expect(document).toMatchObject({ verdict: 'WORSE', unpaired: { leftOut: 0 } });
      expect(document.reasons.map(({ code }) => code)).toContain('failed_worse');
    }
    // Whoever stops a run ends what is open.
    const ours = await compareNamed(known, comparedRun(b, { interrupted: 'SIGINT' }), DEFAULTS);
    expect(ours).toMatchObject({ verdict: 'INCONCLUSIVE', unpaired: { leftOut: COUNT / 12 } });
    // What had less time than the other side took for its answer says nothing, and so many may be the slowest.
    const soon = comparedRun(calmSends(COUNT, 1, openFor(0.001)).b);
    const unknown = await compareNamed(known, soon, DEFAULTS);
    expect(unknown).toMatchObject({ verdict: 'INCONCLUSIVE', unpaired: { leftOut: COUNT / 12 } });
    expect(unknown.reasons.map(({ code }) => code)).toEqual(['left_out']);
  });

  test('takes a build for worse whose clients leave without the answers that they had', async () => {
    const { a, b } = calmSends(COUNT, 1, (index) =>
      index % 12 === 0
        ? { cancelled: true, status: null, firstByteOffsetNs: null, lastByteOffsetNs: index * 20e6 + 5_000e6 }
        : {},
    );
    const document = await compareNamed(comparedRun(a), comparedRun(b), DEFAULTS);
    expect(document).toMatchObject({ verdict: 'WORSE', unpaired: { leftOut: 0 } });
    expect(document.reasons.map(({ code }) => code)).toContain('failed_worse');
  });

  test('never takes a faster build for better of which a fifth was cancelled alone', async () => {
    const { a, b } = calmSends(COUNT, 0.5, (index) =>
      index % 5 === 0 ? { cancelled: true, status: null, lastByteOffsetNs: index * 20e6 + 1 } : {},
    );
    const document = await compareNamed(comparedRun(a), comparedRun(b), DEFAULTS);
    expect(document.verdict).toBe('INCONCLUSIVE');
    expect(document.reasons.map(({ code }) => code)).toEqual(['left_out']);
    // What both sides leave out favours neither.
    const both = (sends: readonly Send[]) =>
      sends.map((each, index) => (index % 5 === 0 ? { ...each, cancelled: true, status: null } : each));
    expect((await compareNamed(comparedRun(both(a)), comparedRun(both(b)), DEFAULTS)).verdict).toBe('BETTER');
  });

  test('takes a build that answers 5xx for worse, though its run is off the recording for that', async () => {
    const { a, b } = calmSends(COUNT, 0.7, (index) => (index % 20 === 0 ? { status: 503 } : {}));
    const document = await compareNamed(comparedRun(a), comparedRun(b), DEFAULTS);
    expect(document.verdict).toBe('WORSE');
    expect(document.reasons.map(({ code }) => code)).toContain('failed_worse');
  });

  test('holds a run against its recording, in either order', async () => {
    const { a } = calmSends(COUNT, 1);
    const capture = captureOf(
      a.map((each) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + each.intendedOffsetNs / 1e3,
          lastByteOffsetUs: Math.round(((each.lastByteOffsetNs ?? 0) - each.intendedOffsetNs) / 1e3),
        }),
      ),
      { origin: { kind: 'recorded', target: 'model.internal:8000', labels: { build: 'v1', model: 'm7' } } },
    );
    const { CaptureReader } = await import('../../src/storage/capture/reader.ts');
    const reader = new CaptureReader(capture);
    const ids = [...reader.rows()].map(({ segment, id }) => ({ segment, exchangeId: id }));
    reader.close();
    const slower = calmSends(COUNT, 1.2).b.map((each, at) => ({ ...each, ...ids[at] }));
    const options = { multiplier: 1, targetShare: 1, stages: null, shard: null };
    const run = comparedRun(slower, { run: { options } });
    const forward = await compareNamed(capture, run, DEFAULTS);
    expect(forward).toMatchObject({ compares: 'recording', verdict: 'WORSE', pairs: COUNT });
    expect(forward.a).toMatchObject({ kind: 'recording', labels: { build: 'v1', model: 'm7' } });
    expect(viewText(comparisonView(forward))).toContain('  A: tested: build v1, model m7');
    // The run is what is new, whichever is named first: the verdict and the exit code of a gate must not turn round.
    expect(await compareNamed(run, capture, DEFAULTS)).toEqual(forward);
    const twice = comparedRun(slower, { run: { options: { ...options, multiplier: 2 } } });
    for (const [a, b] of [[capture, twice] as const, [twice, capture] as const])
      await expect(compareNamed(a, b, DEFAULTS)).rejects.toThrow('multiplier: 1 | 2');
  });

  test('compares files of profiles and captures by their profiles', async () => {
    const capture = captureOf(
      Array.from({ length: 1_200 }, (_, at) => exchangeOf({ arrivalUs: TEST_EPOCH_US + at * 10_000 })),
    );
    expect(await compareNamed(capture, capture, DEFAULTS)).toMatchObject({
      compares: 'profiles',
      verdict: 'SAME',
      pairs: null,
    });
    const file = join(temporaryDirectory(), 'profile.json');
    writeFileSync(file, `\uFEFF${JSON.stringify(profileOf([]))}`);
    expect((await compareNamed(file, capture, ALLOWING)).verdict).toBe('INCONCLUSIVE');
  });

  test('refuses bounds that its comparison does not look at, instead of leaving them unused', async () => {
    const runs = runsOf(1);
    const file = join(temporaryDirectory(), 'profile.json');
    writeFileSync(file, JSON.stringify(profileOf([])));
    const refusal = (sides: readonly string[], ...flags: string[]) =>
      runCommand(['compare', ...sides, ...flags]);
    const shifted = await refusal(runs, '--shift-bound', 'rate=3%');
    expect(shifted).toMatchObject({ status: 2, stdout: '' });
    expect(shifted.stderr).toContain('--shift-bound');
    const floored = await refusal([file, file], '--floor', '3%', '--failure-floor', '1%');
    expect(floored).toMatchObject({ status: 2, stdout: '' });
    expect(floored.stderr).toContain('--floor, --failure-floor');
  });

  test.each([
    ['', /is not a profile/],
    ['{"kind":"replay"}', /another document/],
    ['{"kind":"profile","schemaVersion":9}', /schema version 9/],
    ['{"kind":"profile","schemaVersion":1,"requests":"many"}', /not as a profile has it/],
  ])('says what is wrong with a file: %j', async (text, message) => {
    const file = join(temporaryDirectory(), 'profile.json');
    writeFileSync(file, text);
    await expect(compareNamed(file, file, DEFAULTS)).rejects.toThrow(message);
  });

  test('says what is wrong with a run that never ended, with nothing, and with things that do not fit', async () => {
    const run = comparedRun([send({ index: 0 })]);
    const file = join(temporaryDirectory(), 'profile.json');
    writeFileSync(file, JSON.stringify(profileOf([])));
    await expect(compareNamed(run, file, DEFAULTS)).rejects.toThrow('no requests in common');
    await expect(compareNamed(run, '/nonexistent', DEFAULTS)).rejects.toThrow('/nonexistent');
  });

  test('never takes a run that was named twice for two runs that are the same', async () => {
    const [a] = runsOf(1);
    await expect(compareNamed(a, a, DEFAULTS)).rejects.toThrow(/are the same run, 01JDTEST\d+/);
    const copy = join(temporaryDirectory(), 'copy');
    cpSync(a, copy, { recursive: true });
    await expect(compareNamed(a, copy, DEFAULTS)).rejects.toThrow(/are the same run/);
    const allowed = await compareNamed(a, a, ALLOWING);
    expect(allowed.verdict).toBe('SAME');
    expect(allowed.notes.map(({ code }) => code)).toContain('same_run');
  });

  test.each([
    ['latencyMs', 'latencyMs'],
    ['options', 'options'],
    ['capture', 'capture'],
    ['run', 'run'],
  ])('names what a summary lacks: %s', async (field, message) => {
    const [a, b] = [comparedRun([send({ index: 0 })]), comparedRun([send({ index: 0 })])];
    const file = join(b, 'summary.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), [field]: undefined }));
    await expect(compareNamed(a, b, DEFAULTS)).rejects.toThrow(`is not that of a run: ${message}`);
  });

  test('says every problem of its flags at once', () => {
    const raw = { floor: '0', detect: 'x', shiftBound: ['speed=3%'] };
    expect(() => resolveCompareOptions(byProgram(COMPARE_OPTIONS, raw))).toThrow(
      /--floor[\s\S]*--detect[\s\S]*--shift-bound/,
    );
    expect(() => resolveCompareOptions(byProgram(COMPARE_OPTIONS, { floor: '30%' }))).toThrow(
      '--detect 0.1 is below --floor 0.3',
    );
    expect(
      resolveCompareOptions(byProgram(COMPARE_OPTIONS, { shiftBound: ['rate=30%'] })).shiftBounds.rate,
    ).toBe(0.3);
  });
});

describe('names that would do something', () => {
  const hostile = 'x|`</td><script>alert(1)</script>[a](javascript:1)\u001b[31m\u202e @all www.evil.test';

  test('do nothing on a page, in Markdown and on a terminal', async () => {
    const folder = join(temporaryDirectory(), 'runs');
    mkdirSync(folder);
    const { a, b } = calmSends(COUNT, 1);
    const document = await compareNamed(
      comparedRun(a, { run: { target: hostile, capture: hostile } }),
      comparedRun(b, { run: { target: hostile, capture: hostile } }),
      DEFAULTS,
    );
    const html = comparisonPage(document, { script: '', style: '' });
    expect(html).not.toContain('<script>alert');
    expect(html).not.toContain('\u202e');
    expect(html).not.toContain('\u001b');
    const markdown = viewMarkdown(comparisonView(document));
    expect(markdown).not.toMatch(/(?<!\\)[<`[\]]/);
    for (const each of ['\u001b', '\u202e', '@all', 'www.evil']) expect(markdown).not.toContain(each);
    const text = viewText(comparisonView(document)).map(shownText).join('\n');
    for (const each of ['\u001b', '\u202e']) expect(text).not.toContain(each);
  });
});
