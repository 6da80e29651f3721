// A vitest reporter that leaves the counts of a run, the reason of every skip and the first words of every failure in
// the file named by COUNT_REPORT. vitest's own JSON report has no place for the reason of a skip.
import { writeFileSync } from 'node:fs';

export default class CountReporter {
  /** @param {import('vitest/node').TestModule[]} modules @param {readonly unknown[]} unhandledErrors */
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: 0, skipped: [], failures: [] };
    countErrors(counts, 'beside the tests', unhandledErrors);
    for (const module of modules) {
      // A file that cannot be loaded, and a hook that fails, are failures that no test case carries.
      countErrors(counts, module.relativeModuleId, module.errors());
      for (const suite of module.children.allSuites()) {
        countErrors(counts, `${module.relativeModuleId} > ${suite.fullName}`, suite.errors());
      }
      for (const test of module.children.allTests()) countTest(counts, module, test);
    }
    writeFileSync(process.env.COUNT_REPORT, JSON.stringify(counts));
  }
}

function countTest(counts, module, test) {
  const result = test.result();
  if (result.state === 'passed') counts.passed += 1;
  else if (result.state === 'skipped') {
    // `context.skip` leaves a note; a test skipped before it ran says why in brackets after its title or its suite's.
    const [brackets, reason = 'no reason given'] = / \(([^()]+)\)(?= > |$)/.exec(test.fullName) ?? [];
    const title = brackets === undefined ? test.fullName : test.fullName.replace(brackets, '');
    counts.skipped.push({ name: `${module.relativeModuleId} > ${title}`, reason: result.note ?? reason });
  } else {
    // `pending` too: a test that the end of the run found unfinished.
    counts.failed += 1;
    addFailure(counts, `${module.relativeModuleId} > ${test.fullName}`, result.errors?.[0]);
  }
}

function countErrors(counts, name, errors) {
  counts.failed += errors.length;
  for (const error of errors) addFailure(counts, name, error);
}

function addFailure(counts, name, error) {
  const [reason] = String(error?.message ?? 'it did not end').split('\n', 1);
  counts.failures.push({ name, reason });
}
