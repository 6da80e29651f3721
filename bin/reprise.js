#!/usr/bin/env node
// Any Node can read this file, so that one too old says so in a line instead of failing on the syntax or on a
// native module further in. Hence no `node:` prefix, no top-level await, and no static import of anything else.
// biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
import { accessSync, constants, existsSync, realpathSync } from 'fs';

const NEEDED = [22, 19];
/**
 * V8 collects garbage in the thread that made it. By default it has four helpers for that, which can keep every
 * processor of a small host for milliseconds. Nothing is forwarded then: p99 of a proxy at 2,000 requests/s on two
 * cores was 20 ms with them, and is 5 ms without. Nothing is sent either: a replay's sends were a third later.
 */
const COLLECTING_ALONE = '--single-threaded-gc';
/**
 * What the start of a replay left behind is collected before its first send. One helper compiles, in place of four: on
 * two processors one send in a hundred waited for them.
 */
const SENDING = [COLLECTING_ALONE, '--expose-gc', '--v8-pool-size=1'];
/** The flags that V8 is to begin with, by what the process must do on time. */
const V8_FLAGS = {
  // MiB. What a proxy allocates is garbage at once; a larger young space takes three times as long to collect.
  forwards: [COLLECTING_ALONE, '--max-semi-space-size=2'],
  sends: SENDING,
};

/** The Node that `npm ci` puts into a checkout. */
const PINNED = decodeURIComponent(new URL('../node_modules/.bin/node', import.meta.url).pathname);

if (!isTooOld(process.versions.node)) start();
else if (isThere(PINNED) && realpathSync(PINNED) !== realpathSync(process.execPath)) void startUnderPinned();
else {
  const inCheckout = existsSync(new URL('../src/cli/main.ts', import.meta.url));
  const way = inCheckout ? 'run npm ci in the checkout, which brings a Node for it, or ' : '';
  process.stderr.write(
    `reprise: Node ${process.versions.node} is too old; Node ${NEEDED.join('.')} or newer is needed\n` +
      `  hint: ${way}install Node 24: nvm install 24, or https://nodejs.org\n`,
  );
  process.exitCode = 2;
}

function isThere(program) {
  try {
    if (process.platform === 'win32') return false;
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs this command under the checkout's Node, as one process would: with its signals, and its end as our end. */
async function startUnderPinned() {
  // biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
  const { spawn } = await import('child_process');
  const child = spawn(PINNED, process.argv.slice(1), { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'])
    process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`reprise: cannot start ${PINNED}: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
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
  const moduleNamed = (name) =>
    new URL(fromSource ? `../src/cli/${name}.ts` : `../dist/cli/${name}.js`, import.meta.url).href;
  // Node would open its debugger at it, and whoever shares this host's loopback could run code in here.
  process.on('SIGUSR1', () => undefined);
  const args = process.argv.slice(2);
  // A dry run sends nothing, and its first line is to come soon.
  const runs = !args.includes('--help') && !args.includes('--dry-run');
  import(moduleNamed('command-table'))
    .then(({ commandNamed }) => {
      const command = args.map(commandNamed).find((each) => each?.process !== undefined);
      if (command !== undefined && runs) beginAnew(V8_FLAGS[command.process]);
      return import(moduleNamed('main'));
    })
    .then((module) => module.main(args))
    .catch((error) => {
      process.stderr.write(`reprise: cannot start: ${error.message}\n`);
      process.exitCode = 1;
    });
}

/** V8 hears of flags only as it begins, so the process begins anew, as itself. */
function beginAnew(flags) {
  if (process.execArgv.includes(COLLECTING_ALONE) || process.platform === 'win32') return;
  // Node ends a process that cannot begin anew as the program it names; without /proc it knows its own by name only.
  if (!process.execPath.startsWith('/')) return;
  const command = [process.argv[0], ...flags, ...process.execArgv, ...process.argv.slice(1)];
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
