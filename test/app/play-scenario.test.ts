import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { playByCommand, playScenario } from '../../src/app/gate/play-scenario.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A command that prints this document, keeps its arguments, and ends with this status. */
function command(document: object, status: number) {
  const folder = temporaryDirectory();
  const [script, seen] = [join(folder, 'command.mjs'), join(folder, 'arguments.json')];
  writeFileSync(
    script,
    `import { writeFileSync } from 'node:fs';
writeFileSync(${JSON.stringify(seen)}, JSON.stringify(process.argv.slice(2)));
console.log(${JSON.stringify(JSON.stringify(document))});
process.exitCode = ${status};
`,
  );
  return { line: [process.execPath, script], seen: () => JSON.parse(readFileSync(seen, 'utf8')) };
}
const play = (line: readonly string[], budgetMs = 0) =>
  playByCommand(line, new Map([['spike', 'spike.yaml']]), budgetMs)('spike', new AbortController().signal);

describe('a scenario that is played by the command', () => {
  const violated = { verdict: 'FAIL', run: 'r1', reasons: [{ code: 'slo_violated', text: 'errors' }] };

  test.each([
    [violated, 3, 'FAIL'],
    // A guard stops a run against a build that answers nothing: the worst of all must not be left undecided.
    [violated, 5, 'FAIL'],
    [violated, 0, 'INCONCLUSIVE'],
    [violated, 143, 'INCONCLUSIVE'],
    [{ verdict: 'PASS', run: 'r1', reasons: [] }, 0, 'PASS'],
    [{ verdict: 'PASS', run: 'r1', reasons: [] }, 5, 'INCONCLUSIVE'],
    [
      { verdict: 'INCONCLUSIVE', run: 'r1', reasons: [{ code: 'too_close', text: 'p99' }] },
      4,
      'INCONCLUSIVE',
    ],
    // A statement, whose limits are its reasons.
    [
      {
        verdict: 'FAIL',
        run: 'r1',
        limits: [
          { code: 'slo_violated', text: 'errors', decides: true },
          { code: 'coverage', text: 'half', decides: false },
        ],
      },
      3,
      'FAIL',
    ],
    [{ verdict: null, run: 'r1' }, 0, 'INCONCLUSIVE'],
    // Two targets that were compared.
    [{ verdict: 'SAME', run: 'r1' }, 0, 'PASS'],
    [{ verdict: 'BETTER', run: 'r1' }, 0, 'PASS'],
    [{ ...violated, verdict: 'WORSE' }, 3, 'FAIL'],
    [{ ...violated, verdict: 'WORSE' }, 5, 'FAIL'],
  ])('%j with exit status %i is %s', async (document, status, result) => {
    const { line, seen } = command(document, status);
    const end = await play(line);
    expect(end).toMatchObject({ result, run: 'r1' });
    if (result === 'FAIL') expect(end.reasons).toEqual(['slo_violated: errors']);
    expect(seen()).toEqual(['--log-format', 'json', 'run', 'spike.yaml', '--json']);
  });
});

test.each([
  [{ target: ['a', 'b'], repeat: 2 }, ['--set', 'repeat=2,budget=60000ms']],
  [{ target: ['a', 'b'] }, ['--set', 'repeat=budget=60000ms']],
  // It has a budget of its own.
  [{ target: ['a', 'b'], repeat: '2,budget=5m' }, []],
  [{ target: 'a' }, []],
])('a scenario with the settings %j goes on by %j', async (settings, set) => {
  const reasons = [{ code: 'undecided', text: 'p50' }];
  const { line, seen } = command({ settings, verdict: 'INCONCLUSIVE', reasons, moreS: 90 }, 4);
  expect(await play(line, 60_000)).toMatchObject({
    result: 'INCONCLUSIVE',
    reasons: ['undecided: p50', expect.stringMatching(/^more_needed: /)],
  });
  expect(seen()).toEqual(['--log-format', 'json', 'run', 'spike.yaml', '--json', ...set]);
});

test('a scenario that died while it printed its document threw a SyntaxError', async () => {
  const line = [process.execPath, '-e', `process.stdout.write('{"kind":"repl');process.exitCode = 143`, '--'];
  const options = { preset: null, target: [], set: [] };
  await expect(playScenario(line, 'spike.yaml', options, new AbortController().signal)).rejects.toMatchObject(
    {
      code: 'INTERNAL',
      message: 'the scenario ended with 143',
    },
  );
});
