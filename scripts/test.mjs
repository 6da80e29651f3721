// `npm test`: runs the tests, and beside them the checks of types and lint at low priority. They use processor time
// that the tests leave idle while they wait. Arguments go to vitest. Fails if one of the three fails; a signal ends
// all.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';

const { scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const PROGRAMS = {
  tsc: 'typescript/bin/tsc',
  biome: '@biomejs/biome/bin/biome',
  vitest: 'vitest/vitest.mjs',
};

/** Starts a script of package.json without a shell, because a signal would end only the shell. */
function start(name, args, options, end) {
  const [program, ...own] = scripts[name].split(' ');
  const path = fileURLToPath(new URL(`../node_modules/${PROGRAMS[program]}`, import.meta.url));
  const child = spawn(process.execPath, [path, ...own, ...args], options);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    const forward = () => end(child, signal);
    process.on(signal, forward);
    child.once('close', () => process.off(signal, forward));
  }
  return child;
}

/** Runs a script of package.json to its end. Its output is printed after the tests. */
async function check(name) {
  // In a process group of its own, which is killed as a whole. biome works in a child, and tsc ignores signals until
  // its work is done.
  const options = { detached: true, stdio: ['ignore', 'pipe', 'pipe'] };
  const child = start(name, [], options, ({ pid }) => process.kill(-pid, 'SIGKILL'));
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      printed += text;
    });
  }
  if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
  const [status, signal] = await once(child, 'close');
  return { name, printed, status: status ?? signal };
}

const checks = ['typecheck', 'lint'].map(check);
const tests = start('unit', process.argv.slice(2), { stdio: 'inherit' }, (child, signal) =>
  child.kill(signal),
);
const [status, signal] = await once(tests, 'close');
const unit = { name: 'tests', printed: '', status: status ?? signal };
for (const { name, printed, status } of [unit, ...(await Promise.all(checks))]) {
  process.stdout.write(`\n${name}: ${status === 0 ? 'passed' : `failed (${status})`}\n${printed}`);
  if (status !== 0) process.exitCode = 1;
}
