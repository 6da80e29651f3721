// Adds up what the stages of a full check left behind: `node sum-counts.mjs DIRECTORY`. Each `*.stage` file holds
// the exit status of one stage, and beside it lies `*.json` where the stage ran tests. Every skip is printed with
// its reason, every failure with its first words, every failed stage by name, then one line of totals. Runs on any
// Node since 18.
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
    // A stage without tests, or one that died before it could count them: the stage itself is the check.
    total[status === 0 ? 'passed' : 'failed'] += 1;
  } else {
    total.passed += counts.passed;
    // A run that fails although no test did has still failed.
    total.failed += status === 0 ? counts.failed : Math.max(1, counts.failed);
    total.skipped += counts.skipped.length;
    for (const { name: test, reason } of counts.skipped) console.log(`skipped: ${test}: ${reason}`);
    for (const { name: test, reason } of counts.failures) console.log(`failed: ${test}: ${reason}`);
  }
  if (status !== 0) console.log(`failed: ${name} (exit ${status})`);
}
