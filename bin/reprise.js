#!/usr/bin/env node
// Any Node can read this file, so that one too old says so in a line instead of failing on the syntax or on a
// native module further in. Hence no `node:` prefix, no top-level await, and no static import of anything else.
// biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
import { accessSync, constants, existsSync } from 'fs';

const NEEDED = [22, 19];
const COLLECTING_ALONE = '--single-threaded-gc';
/**
 * For the process that holds the sockets of a recording. Everything is made young: by default V8 notes how much of what
 * one place in the code makes outlives its first collection, and learns the wrong thing from the first connections. The
 * young generation has its size from the start. Heads may have 64 KiB, which the gateway's library cannot be told, and
 * nobody who reads our log can do anything about what that library calls.
 */
const FORWARDING = [
  COLLECTING_ALONE,
  '--no-allocation-site-pretenuring',
  '--min-semi-space-size=8',
  '--max-semi-space-size=8',
  '--max-http-header-size=65536',
  '--disable-warning=DEP0060',
];

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
  const args = process.argv.slice(2);
  if (args.includes('record') && !args.includes('--help')) beginAnew(FORWARDING);
  import(entry.href)
    .then((module) => module.main(process.argv.slice(2)))
    .catch((error) => {
      process.stderr.write(`reprise: cannot start: ${error.message}\n`);
      process.exitCode = 1;
    });
}

/**
 * V8 hears of these flags only as it begins, so the process begins anew, as itself. Garbage is collected by the thread
 * that made it: by default V8 has four helpers for that, which can keep every processor of a small host busy for
 * milliseconds in which nothing is forwarded.
 */
function beginAnew(flags) {
  if (process.execArgv.includes(COLLECTING_ALONE) || process.platform === 'win32') return;
  // Node ends a process that cannot begin anew as the program it names; without /proc it knows its own by name only.
  if (!process.execPath.startsWith('/')) return;
  const [node, script, ...args] = process.argv;
  const command = [node, ...flags, ...process.execArgv, script, ...args];
  try {
    accessSync(process.execPath, constants.X_OK);
    process.execve(process.execPath, command, process.env);
  } catch {
    // Where a process may not begin anew (Node's permission model, say), or its Node is gone, it goes on as it is.
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
