// Adds up what the stages of a full check left behind: `node sum-counts.mjs DIRECTORY`. Each `*.stage` file holds
// the exit status of one stage, and beside it lies `*.json` where the stage ran tests. `*.again.stage` and
// `*.again.json` are of a second run of the files that failed: its counts replace those of the first. Every skip is
// printed with its reason, every failure with its first words, also one that did not come again, every failed stage by
// name, then one line of totals. Runs on any Node since 18.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = process.argv[2];
const total = { passed: 0, failed: 0, skipped: 0 };

for (const file of readdirSync(directory)
  .filter((name) => name.endsWith('.stage') && !name.endsWith('.again.stage'))
  .sort()) {
  const stage = file.replace(/\.stage$/, '');
  const [first, second] = [runOf(stage), runOf(`${stage}.again`)];
  for (const { name, reason } of mended(first, second)) {
    console.log(`failed once, passed when run again: ${name}: ${reason}`);
  }
  addStage(stage.replace(/^\d+-/, ''), second === null ? first : both(first, second));
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

/** @returns exit status and counts of each file, null where none were left; null without such a run */
function runOf(stage) {
  const [status, report] = [join(directory, `${stage}.stage`), join(directory, `${stage}.json`)];
  if (!existsSync(status)) return null;
  const files = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : null;
  return { status: Number(readFileSync(status, 'utf8')), files };
}

function failuresOf({ files }) {
  return Object.values(files ?? {}).flatMap(({ failures }) => failures);
}

/** Failures of the first run that did not come again. */
function mended(first, second) {
  return Object.entries(second?.files ?? {}).flatMap(([file, { failures }]) => {
    const names = new Set(failures.map(({ name }) => name));
    return (first.files?.[file]?.failures ?? []).filter(({ name }) => !names.has(name));
  });
}

/** The second run stands for the files in it. A stage whose failed files all passed then has passed. */
function both(first, second) {
  if (second.files === null) return first;
  const files = { ...first.files, ...second.files };
  return { status: failuresOf({ files }).length === 0 ? second.status : first.status, files };
}

function addStage(name, { status, files }) {
  if (files === null) {
    // A stage without tests, or one that died before it could count them: the stage itself is the check.
    total[status === 0 ? 'passed' : 'failed'] += 1;
  } else {
    const failures = failuresOf({ files });
    const skipped = Object.values(files).flatMap((counts) => counts.skipped);
    for (const { passed } of Object.values(files)) total.passed += passed;
    // A run that fails although no test did has still failed.
    total.failed += status === 0 ? failures.length : Math.max(1, failures.length);
    total.skipped += skipped.length;
    for (const { name: test, reason } of skipped) console.log(`skipped: ${test}: ${reason}`);
    for (const { name: test, reason } of failures) console.log(`failed: ${test}: ${reason}`);
  }
  if (status !== 0) console.log(`failed: ${name} (exit ${status})`);
}
