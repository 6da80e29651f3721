import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { runReprise } from '../support/process.ts';
import { storedRun } from '../support/reported-runs.ts';
import { good } from '../support/run-contexts.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const readers = pythonWith(['junitparser==3.2.0', 'prometheus-client==0.22.1']);

/** Reads both files as a pipeline does, and prints what it found. */
const READ = `
import json, sys
from junitparser import JUnitXml, Failure, Skipped
from prometheus_client.openmetrics.parser import text_string_to_metric_families
xml = JUnitXml.fromfile(sys.argv[1])
suites = [{
  "name": suite.name, "tests": suite.tests, "failures": suite.failures, "skipped": suite.skipped,
  "properties": {each.name: each.value for each in suite.properties()},
  "cases": [[case.name, [type(result).__name__ for result in case.result],
             [result.message for result in case.result]] for case in suite],
} for suite in xml]
families = text_string_to_metric_families(open(sys.argv[2]).read())
metrics = {sample.name: [sample.labels, sample.value] for family in families for sample in family.samples}
print(json.dumps({"suites": suites, "metrics": metrics}))
`;

describe('what a pipeline reads of a verdict', () => {
  needing(readers, 'is the verdict, for each of the three', async (python) => {
    const folder = temporaryDirectory();
    for (const [verdict, count, slo, expected] of [
      ['PASS', 200, 'latency: p(95)<60s', { failures: 0, skipped: 0 }],
      ['FAIL', 200, 'latency: p(95)<0.001', { failures: 1, skipped: 0 }],
      ['INCONCLUSIVE', 20, 'latency: p(99)<60s', { failures: 0 }],
    ] as const) {
      const name = `test of "${verdict}" <&>`;
      const run = storedRun(good(count), { slo: [slo], run: { options: { name } } });
      const [junit, gitlab] = [join(folder, 'verdict.xml'), join(folder, 'metrics.txt')];
      const github = { GITHUB_STEP_SUMMARY: join(folder, 'summary'), GITHUB_OUTPUT: join(folder, verdict) };
      const outputs = [`junit=${junit}`, `gitlab=${gitlab}`, 'github'].flatMap((each) => [
        '--ci-report',
        each,
      ]);
      const { status, stderr } = await runReprise(['report', run, '--json', ...outputs], { env: github });
      expect({ verdict, status }).toEqual({ verdict, status: 0 });
      const { stdout, said } = await runPeer(python, ['-c', READ, junit, gitlab]);
      expect(stdout, said).not.toBe('');
      const { suites, metrics } = JSON.parse(stdout);
      expect(suites).toEqual([expect.objectContaining({ name, ...expected, properties: expect.anything() })]);
      const [{ tests, skipped, cases, properties }] = suites;
      expect(properties.verdict).toBe(verdict);
      expect(cases).toHaveLength(tests);
      expect(cases.map(([each]: [string]) => each)).toContain(slo);
      if (verdict === 'FAIL')
        expect(cases[0].slice(1)).toEqual([['Failure'], [expect.stringContaining('observed')]]);
      if (verdict === 'INCONCLUSIVE') expect(skipped).toBeGreaterThan(0);
      expect(metrics.reprise_replay_sent_count).toEqual([{ test: name }, count]);
      expect(stderr.match(/^::error /gm) ?? []).toHaveLength(
        verdict === 'PASS' ? 0 : expected.failures + skipped,
      );
      expect(readFileSync(github.GITHUB_OUTPUT, 'utf8')).toContain(`verdict=${verdict}\n`);
    }
    expect(readFileSync(join(folder, 'summary'), 'utf8').match(/^# Load test report/gm)).toHaveLength(3);
  });
});
