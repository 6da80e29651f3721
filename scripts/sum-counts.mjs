// Adds up the results of all stages of a full check: `node sum-counts.mjs DIRECTORY`. Each `*.stage` file has the exit
// status of one stage. If the stage ran tests, a `*.json` file beside it has the counts. Prints every skip with its
// reason, every failure with its first line, and every failed stage. The last line has the totals. Runs on any Node
// since 18.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.argv[2];
const total = { passed: 0, failed: 0, skipped: 0 };

for (const file of readdirSync(directory)
  .filter((name) => name.endsWith('.stage'))
  .sort()) {
  const name = file.replace(/^\d+-/, '').replace(/\.stage$/, '');
  const status = Number(readFileSync(join(directory, file), 'utf8'));
  const report = join(directory, file.replace(/\.stage$/, '.json'));
  addStage(name, status, existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : null);
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

function addStage(name, status, counts) {
  if (counts === null) {
    // A stage without tests, or one that crashed before it counted them: the stage itself counts as one check.
    total[status === 0 ? 'passed' : 'failed'] += 1;
  } else {
    total.passed += counts.passed;
    // A failed run counts as a failure even if no test failed.
    total.failed += status === 0 ? counts.failed : Math.max(1, counts.failed);
    total.skipped += counts.skipped.length;
    for (const { name: test, reason } of counts.skipped) console.log(`skipped: ${test}: ${reason}`);
    for (const { name: test, reason } of counts.failures) console.log(`failed: ${test}: ${reason}`);
  }
  if (status !== 0) console.log(`failed: ${name} (exit ${status})`);
}
