#!/usr/bin/env node
// Any Node can read this file, so that one too old says so in a line instead of failing on the syntax or on a
// native module further in. Hence no `node:` prefix, no top-level await, and no static import of anything else.
// biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
import { accessSync, constants, existsSync } from 'fs';

const NEEDED = [22, 19];
const COLLECTING_ALONE = '--single-threaded-gc';
/** V8 compiles for the last time after some 30,000 requests in place of 9,000. */
const COMPILING_LATE = '--invocation-count-for-turbofan=30000';

if (isTooOld(process.versions.node)) {
  process.stderr.write(
    `reprise: Node ${process.versions.node} is too old; Node ${NEEDED.join('.')} or newer is needed\n`,
  );
  process.exitCode = 2;
} else {
  start();
}

function isTooOld(version) {
  const parts = version.split('.').map(Number);
  return parts[0] < NEEDED[0] || (parts[0] === NEEDED[0] && parts[1] < NEEDED[1]);
}

function start() {
  // A checkout runs its sources; Node refuses to strip types below node_modules, and a package holds no sources.
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const fromSource = !/[\\/]node_modules[\\/]/.test(source.pathname) && existsSync(source);
  if (fromSource) silenceTypeStrippingWarning();
  const entry = fromSource ? source : new URL('../dist/cli/main.js', import.meta.url);
  // Node would open its debugger at it, and whoever shares this host's loopback could run code in here.
  process.on('SIGUSR1', () => undefined);
  if (sends(process.argv.slice(2))) {
    collectAlone();
    compileLate();
  }
  import(entry.href)
    .then((module) => module.main(process.argv.slice(2)))
    .catch((error) => {
      process.stderr.write(`reprise: cannot start: ${error.message}\n`);
      process.exitCode = 1;
    });
}

/** Whether a command line is one that keeps a schedule. */
function sends(args) {
  return args.includes('selftest') || (args.includes('replay') && !args.includes('--dry-run'));
}

/**
 * The compiler that takes longest comes when a load has lasted for as long as that is worth it, and not in the first
 * seconds, in which it would be most of what makes sends late. A V8 that does not know of it goes on as it would.
 */
function compileLate() {
  process.getBuiltinModule('v8').setFlagsFromString(COMPILING_LATE);
}

/**
 * Each thread of what sends collects its own garbage. By default V8 has four helpers for that, which keep every
 * processor of a small host busy for milliseconds, and a thread that has to send just then waits behind them. V8
 * hears of it only as it begins (changed later it ends the process at its next collection), so the process begins
 * anew, as itself.
 */
function collectAlone() {
  if (process.execArgv.includes(COLLECTING_ALONE) || process.platform === 'win32') return;
  // Node ends a process that cannot begin anew as the program it names; without /proc it knows its own by name only.
  if (!process.execPath.startsWith('/')) return;
  const [node, script, ...args] = process.argv;
  const command = [node, COLLECTING_ALONE, ...process.execArgv, script, ...args];
  try {
    accessSync(process.execPath, constants.X_OK);
    process.execve(process.execPath, command, process.env);
  } catch {
    // Where a process may not begin anew (Node's permission model, say), or its Node is gone, the helpers stay: a
    // replay says itself how well it kept its schedule.
  }
}

/** Node 22 warns that it strips types; that is news to nobody who works in the checkout. */
function silenceTypeStrippingWarning() {
  const emit = process.emit;
  process.emit = (event, ...rest) => {
    const isThatOne =
      event === 'warning' &&
      rest[0].name === 'ExperimentalWarning' &&
      /Type Stripping/i.test(rest[0].message);
    return isThatOne ? false : emit.call(process, event, ...rest);
  };
}
