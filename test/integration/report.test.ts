import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { reportRun } from '../../src/app/report.ts';
import { REPORT_FORMS, REPORT_OUTPUTS, reportForms } from '../../src/cli/commands/report.ts';
import { type DocumentOutput, outputsOf, writeOutputs } from '../../src/cli/output.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { systemClock } from '../../src/core/clock.ts';
import { Problems } from '../../src/core/errors.ts';
import { byProgram, readOptions, type StatedOptions } from '../../src/core/options.ts';
import { type ReportDocument, reportSchema } from '../../src/documents/report.ts';
import { segmentsOf } from '../../src/storage/capture/directory.ts';
import { runCommand } from '../support/command-here.ts';
import { mixedSends, storedRun, summaryOf } from '../support/reported-runs.ts';
import { send } from '../support/sends.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { replayedCapture } from './replayed-capture.ts';

const sends = mixedSends(900);
const SLO = ['latency: p(95)<20'];

/** Refused in so many words, in this process. */
function refusal(directory: string, capture: string | null = null): { code: unknown; message: string } {
  try {
    reportRun({ directory, capture });
  } catch (thrown) {
    const { code, message, hint } = thrown as { code: unknown; message: string; hint: unknown };
    expect(hint).toMatch(/^[A-Z].+\.$/);
    return { code, message };
  }
  throw new Error('it was not refused');
}

describe('reprise report', () => {
  test('prints a document of the published schema, and writes its page and its Markdown beside it', async () => {
    const directory = storedRun(sends, { slo: SLO });
    const [html, markdown] = ['a.html', 'a.md'].map((file) => join(temporaryDirectory(), file)) as [
      string,
      string,
    ];
    const done = await runCommand(['report', directory, '--json', '--html', html, '--markdown', markdown]);
    expect(done, done.stderr).toMatchObject({ status: 0 });
    const document = JSON.parse(done.stdout) as ReportDocument;
    // What the schema does not name it would leave out.
    expect(reportSchema.parse(document)).toEqual(document);
    expect(document).toMatchObject({ kind: 'report', verdict: 'FAIL', run: { sealed: true, directory } });
    expect(document.recording.unavailable).toMatch(/captures\/monday.*--capture/);
    expect(document.overTime.offered.reduce((sum, count) => sum + count, 0)).toBe(sends.length);
    expect(readFileSync(html, 'utf8')).toContain('The target did not meet');
    expect(readFileSync(markdown, 'utf8')).toMatch(/^# Load test report\n\n\*\*FAIL\*\*/);
  });

  test('has advice that named no run', async () => {
    const directory = storedRun(sends, { slo: SLO });
    const { status, stdout, stderr } = await runCommand(['report', directory]);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/Not compared at 1x first \(uncalibrated\)/);
    expect(stdout).toContain(`show ${directory} --slowest 20`);
  });

  test('says how answers compare with the recorded ones, where the run compared them', () => {
    const directory = storedRun(sends);
    const path = join(directory, 'summary.json');
    const summary = JSON.parse(readFileSync(path, 'utf8')) as object;
    const check = {
      level: 'values',
      answers: 10,
      checked: 8,
      mismatched: 4,
      rate: 0.5,
      byKind: { status: 0, shape: 4, values: 0, length: 0, finish: 0 },
      unchecked: { redacted: 2 },
      examples: { shape: [{ index: 3, segment: 's.sqlite', exchangeId: 7, pointer: '/predictions' }] },
      tolerance: {},
      ignored: { asked: [], byProtocol: {} },
    };
    writeFileSync(path, JSON.stringify({ ...summary, check }));
    const text = reportForms(reportRun({ directory, capture: null }))
      .text()
      .join('\n');
    expect(text).toMatch(/mismatched: shape .*send 3: exchange 7 of s\.sqlite/);
    expect(text).toMatch(/unchecked: redacted /);
    writeFileSync(path, JSON.stringify({ ...summary, check: { ...check, byKind: null } }));
    expect(refusal(directory).message).toContain('check.byKind');
  });

  test('takes a summary without a document for damage, not for a run that has not ended', () => {
    const directory = storedRun(sends);
    writeFileSync(join(directory, 'summary.json'), 'null');
    expect(refusal(directory)).toMatchObject({ code: 'INPUT_INVALID' });
  });

  test('does not say of a run that sent nothing that its capture holds no times', () => {
    const directory = storedRun([]);
    const text = reportForms(reportRun({ directory, capture: replayedCapture(sends.slice(0, 3), 5).capture }))
      .text()
      .join('\n');
    expect(text).toContain('no request was sent that could be compared with the recording');
  });

  test('tells as text what the rows of a run tell that never came to its end', () => {
    const written: string[] = [];
    const screen = { write: (text: string) => written.push(text) };
    const report = reportRun({ directory: storedRun(sends, null), capture: null });
    writeOutputs(
      reportForms(report),
      [{ form: 'text', path: null }],
      new Terminal(screen, screen, systemClock),
    );
    const text = written.join('');
    expect(text).toMatch(/^No verdict: This run never came to its end/);
    expect(text).toContain('BY ROUTE, MODEL AND INPUT SIZE');
    expect(text).not.toMatch(/\p{Bidi_Control}|(?!\n)\p{Cc}/u);
  });

  test('prints nothing where a page cannot be written, and leaves nothing of it', () => {
    const written: string[] = [];
    const screen = { write: (text: string) => written.push(text) };
    const folder = temporaryDirectory();
    const outputs: DocumentOutput<(typeof REPORT_FORMS)[number]>[] = [
      { form: 'text', path: null },
      { form: 'html', path: join(folder, 'none', 'a.html') },
    ];
    const report = reportRun({ directory: storedRun(sends.slice(0, 9)), capture: null });
    const terminal = new Terminal(screen, screen, systemClock);
    expect(() => writeOutputs(reportForms(report), outputs, terminal)).toThrow('cannot be written');
    expect([written, readdirSync(folder)]).toEqual([[], []]);
  });

  test('has one form on stdout, text where none was asked for', () => {
    const formsOf = (stated: StatedOptions<typeof REPORT_OUTPUTS>) => {
      const problems = new Problems();
      const asked = readOptions(REPORT_OUTPUTS, byProgram(REPORT_OUTPUTS, stated), problems);
      const outputs = outputsOf(asked, REPORT_FORMS, problems);
      problems.throwIfAny();
      return outputs.map(({ form, path }) => [form, path]);
    };
    expect(formsOf({})).toEqual([['text', null]]);
    expect(formsOf({ markdown: true })).toEqual([['markdown', null]]);
    expect(formsOf({ html: 'a.html', markdown: 'a.md' })).toEqual([
      ['text', null],
      ['html', 'a.html'],
      ['markdown', 'a.md'],
    ]);
    expect(() => formsOf({ html: true, json: true })).toThrow('--json and --html would both be printed');
    expect(() => formsOf({ html: 'a', markdown: './a' })).toThrow('name the same file');
    // A page written over a run would be its end.
    expect(() => formsOf({ html: 'runs/1/run.sqlite' })).toThrow('run.sqlite');
    expect(() => formsOf({ markdown: 'profile.JSON' })).toThrow('profile.JSON');
  });
});

describe('the recording beside a run', () => {
  const made = replayedCapture(
    Array.from({ length: 40 }, (_, index) => send({ index, intendedOffsetNs: index * 1e7 })),
    10,
  );
  const { capture, sends: played } = made;

  test('is found where the run says it lay, or where it was named', () => {
    const there = reportRun({ directory: storedRun(played, { run: { capture } }), capture: null });
    const moved = reportRun({ directory: storedRun(played), capture });
    for (const { recording, latencyMs } of [there, moved]) {
      expect(recording).toMatchObject({ capture, unavailable: null, found: 40, timed: 40, sought: 40 });
      expect(latencyMs.recorded).toMatchObject({ count: 40, meanMs: 8.195, maxMs: 8.39 });
    }
  });

  test('is found above the run where the run names it relatively, whatever the working directory is', () => {
    const home = temporaryDirectory();
    cpSync(capture, join(home, 'captures', 'monday'), { recursive: true });
    // Another capture of that name lies nearer, and holds none of the exchanges.
    const another = replayedCapture(
      played.map((each) => ({ ...each, exchangeId: each.exchangeId + 90_000 })),
      10,
    ).capture;
    cpSync(another, join(home, 'runs', 'captures', 'monday'), { recursive: true });
    const relative = join('captures', 'monday');
    cpSync(storedRun(played, { run: { capture: relative } }), join(home, 'runs', 'one'), { recursive: true });
    const { recording } = reportRun({ directory: join(home, 'runs', 'one'), capture: null });
    expect(recording).toMatchObject({ capture: relative, unavailable: null, found: 40 });
  });

  test('is said to be gone where no place holds it, and never that it is no capture', () => {
    const run = (at: string) =>
      reportRun({ directory: storedRun(played, { run: { capture: at } }), capture: null });
    const places = 'neither beside the run, nor in a folder above it, nor in the working directory';
    expect(run('captures/gone').recording.unavailable).toBe(
      `the capture captures/gone is gone: it lies ${places}; name it with --capture`,
    );
    const gone = join(temporaryDirectory(), 'gone');
    expect(run(gone).recording.unavailable).toBe(`the capture ${gone} is gone; name it with --capture`);
  });

  test('is not made up where the capture is gone, another one or damaged', () => {
    const other = storedRun(
      played.map((each) => ({ ...each, segment: 'another.sqlite' })),
      { run: { capture } },
    );
    expect(reportRun({ directory: other, capture: null }).recording).toMatchObject({
      unavailable: expect.stringContaining('none of the exchanges'),
      found: 0,
    });
    expect(refusal(other, capture)).toMatchObject({ code: 'INPUT_INVALID' });
    expect(refusal(other, join(temporaryDirectory(), 'none'))).toMatchObject({ code: 'CAPTURE_NOT_FOUND' });
    const damaged = replayedCapture(played, 10).capture;
    truncateSync(join(damaged, segmentsOf(damaged)[0]?.file ?? ''), 20_000);
    const report = reportRun({ directory: storedRun(played, { run: { capture: damaged } }), capture: null });
    expect(report.latencyMs.recorded).toBeNull();
    expect(report.recording).toMatchObject({ found: 0, unavailable: expect.stringContaining('--capture') });
  });
});

describe('what is no run', () => {
  const few = sends.slice(0, 60);

  test.each([
    ['a directory without one', () => temporaryDirectory(), 'INPUT_INVALID'],
    ['a directory that is not there', () => join(temporaryDirectory(), 'none'), 'INPUT_INVALID'],
    ['a summary that is no JSON', () => withSummary('{"kind":'), 'INPUT_INVALID'],
    [
      'a summary of something else',
      () => withSummary('{"schemaVersion":1,"kind":"profile"}'),
      'INPUT_INVALID',
    ],
    ['a summary that lacks a part', () => withSummary({ fidelity: undefined }), 'INPUT_INVALID'],
    ['a summary with a word for a number', () => withSummary({ planned: 'many' }), 'INPUT_INVALID'],
    ['a summary of a later version', () => withSummary({ schemaVersion: 2 }), 'SCHEMA_TOO_NEW'],
    ['a database cut short', () => cutShort(), 'INPUT_INVALID'],
  ])('is refused in plain words: %s', (_, make, code) => {
    const directory = make();
    const refused = refusal(directory);
    expect(refused.code).toBe(code);
    expect(refused.message).toContain(directory);
  });

  function withSummary(summary: string | object): string {
    const directory = storedRun(few);
    const text = typeof summary === 'string' ? summary : JSON.stringify({ ...summaryOf(few), ...summary });
    writeFileSync(join(directory, 'summary.json'), text);
    return directory;
  }

  function cutShort(): string {
    const directory = storedRun(few);
    truncateSync(join(directory, 'run.sqlite'), 12_288);
    return directory;
  }
});
