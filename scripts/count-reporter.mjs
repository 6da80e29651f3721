// A vitest reporter that writes the counts of a run, the reason of every skip and the first line of every failure. They
// go into the file named by COUNT_REPORT. vitest's own JSON report lacks the reasons of skips.
import { writeFileSync } from 'node:fs';

export default class CountReporter {
  /** @param {import('vitest/node').TestModule[]} modules @param {readonly unknown[]} unhandledErrors */
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: 0, skipped: [], failures: [] };
    countErrors(counts, 'beside the tests', unhandledErrors);
    for (const module of modules) {
      // A file that cannot be loaded, or a failed hook, is a failure outside any test case.
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
    // `context.skip` leaves a note. A test skipped before it ran has the reason in brackets after its own or its
    // suite's title.
    const [brackets, reason = 'no reason given'] = / \(([^()]+)\)(?= > |$)/.exec(test.fullName) ?? [];
    const title = brackets === undefined ? test.fullName : test.fullName.replace(brackets, '');
    counts.skipped.push({ name: `${module.relativeModuleId} > ${title}`, reason: result.note ?? reason });
  } else {
    // Includes `pending`: the test was unfinished at the end of the run.
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
