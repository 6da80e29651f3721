// A vitest reporter that leaves the counts of a run, and the reason of every skip, in the file named by
// COUNT_REPORT. vitest's own JSON report has no place for the reason.
import { writeFileSync } from 'node:fs';

export default class CountReporter {
  /** @param {import('vitest/node').TestModule[]} modules @param {readonly unknown[]} unhandledErrors */
  onTestRunEnd(modules, unhandledErrors) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: [] };
    for (const module of modules) {
      // A file that cannot be loaded, and a hook that fails, are failures that no test case carries.
      counts.failed += module.errors().length;
      for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
      for (const test of module.children.allTests()) countTest(counts, module, test);
    }
    writeFileSync(process.env.COUNT_REPORT, JSON.stringify(counts));
  }
}

function countTest(counts, module, test) {
  const result = test.result();
  if (result.state === 'passed') counts.passed += 1;
  else if (result.state === 'skipped') {
    // `context.skip` leaves a note; a test skipped before it ran says why in brackets after its title.
    const [, title = test.fullName, reason = 'no reason given'] = /^(.*) \((.+)\)$/.exec(test.fullName) ?? [];
    counts.skipped.push({ name: `${module.relativeModuleId} > ${title}`, reason: result.note ?? reason });
  } else counts.failed += 1; // `pending` too: a test that the end of the run found unfinished
}
