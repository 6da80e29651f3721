#!/usr/bin/env node
// Any Node can read this file, so that one too old says so in a line instead of failing on the syntax or on a
// native module further in. Hence no `node:` prefix, no top-level await, and no static import of anything else.
// biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
import { accessSync, constants, existsSync } from 'fs';

const NEEDED = [22, 19];
/**
 * The process that holds the sockets of a recording collects garbage in the thread that made it. By default V8 has four
 * helpers for that, which can keep every processor of a small host for milliseconds in which nothing is forwarded: p99
 * at 2,000 requests/s on two cores was 20 ms with them, and is 5 ms without.
 */
const COLLECTING_ALONE = '--single-threaded-gc';
/** MiB. What a proxy allocates is garbage at once; in a larger young space each collection takes three times as long. */
const YOUNG_SPACE = '--max-semi-space-size=2';

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
  silenceNodesWarnings();
  const entry = fromSource ? source : new URL('../dist/cli/main.js', import.meta.url);
  // Node would open its debugger at it, and whoever shares this host's loopback could run code in here.
  process.on('SIGUSR1', () => undefined);
  const args = process.argv.slice(2);
  if (args.includes('record') && !args.includes('--help')) beginAnew();
  import(entry.href)
    .then((module) => module.main(process.argv.slice(2)))
    .catch((error) => {
      process.stderr.write(`reprise: cannot start: ${error.message}\n`);
      process.exitCode = 1;
    });
}

/** V8 hears of the flag only as it begins, so the process begins anew, as itself. */
function beginAnew() {
  if (process.execArgv.includes(COLLECTING_ALONE) || process.platform === 'win32') return;
  // Node ends a process that cannot begin anew as the program it names; without /proc it knows its own by name only.
  if (!process.execPath.startsWith('/')) return;
  const command = [
    process.argv[0],
    COLLECTING_ALONE,
    YOUNG_SPACE,
    ...process.execArgv,
    ...process.argv.slice(1),
  ];
  try {
    accessSync(process.execPath, constants.X_OK);
    process.execve(process.execPath, command, process.env);
  } catch {
    // Where a process may not begin anew (Node's permission model, say), or its Node is gone, it goes on as it is.
  }
}

/**
 * Nobody who reads our log can do anything about two warnings of Node: that it strips types in a checkout, and that
 * http-proxy calls a function that is deprecated.
 */
function silenceNodesWarnings() {
  const emit = process.emit;
  process.emit = (event, ...rest) => {
    const isKnown =
      event === 'warning' &&
      (rest[0].code === 'DEP0060' ||
        (rest[0].name === 'ExperimentalWarning' && /Type Stripping/i.test(rest[0].message)));
    return isKnown ? false : emit.call(process, event, ...rest);
  };
}
