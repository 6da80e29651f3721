#!/usr/bin/env node
// Any Node can read this file, so that one too old says so in a line instead of failing on the syntax or on a
// native module further in. Hence no `node:` prefix, no top-level await, and no static import of anything else.
// biome-ignore lint/style/useNodejsImportProtocol: the prefix is younger than the oldest Node that must get here
import { existsSync } from 'fs';

const NEEDED = [22, 19];

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
  import(entry.href)
    .then((module) => module.main(process.argv.slice(2)))
    .catch((error) => {
      process.stderr.write(`reprise: cannot start: ${error.message}\n`);
      process.exitCode = 1;
    });
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
