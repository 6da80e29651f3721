import { enableCompileCache } from 'node:module';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { commandNamed } from './command-table.ts';
import { EXIT, failureOf } from './exit.ts';
import { runInThread } from './signals.ts';
import { terminal } from './terminal.ts';

/** Help reads no capture, so it needs no thread. */
const HELP: ReadonlySet<string> = new Set(['--help', '-h', '--help-all']);

/** Runs one command line (without `node` and the script) and leaves its status in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  surviveClosedPipes();
  process.on('uncaughtException', (thrown) => {
    fail(thrown);
    process.exit();
  });
  try {
    if (isMainThread && !args.some((arg) => HELP.has(arg))) {
      if (commandNamed(commandOf(args))?.inThread === true) {
        await runInThread(args);
        return;
      }
    }
  } catch (thrown) {
    fail(thrown);
    return;
  }
  await runHere(args);
}

/** Runs a command line in this thread, and leaves its status in `process.exitCode`. */
export async function runHere(args: readonly string[]): Promise<void> {
  keepCompiled();
  try {
    // Imported only here, because a process whose command runs in a thread does not need it.
    const { prepare } = await import('./commands/index.ts');
    const { program } = await prepare(args);
    await program.parseAsync(args, { from: 'user' });
  } catch (thrown) {
    fail(thrown);
  }
}

/**
 * A checkout keeps its sources compiled for the next start, which then comes a third of a second sooner. Who may write
 * there may change the sources too. Where nobody may, nothing is kept. A process that sends or forwards is known by its
 * flags. It runs for hours, and would hold 20 MB more.
 */
function keepCompiled(): void {
  if (extname(import.meta.url) !== '.ts' || process.execArgv.includes('--single-threaded-gc')) return;
  enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url)));
}

/** The program's own flags with a value. They may precede the command. */
const WITH_VALUE: ReadonlySet<string> = new Set(['--log-format', '--config']);

/** The name of the command in a command line; empty if there is none. */
function commandOf(args: readonly string[]): string {
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? '';
    if (!arg.startsWith('-')) return arg;
    if (WITH_VALUE.has(arg)) at += 1;
  }
  return '';
}

function fail(thrown: unknown): void {
  const { status, message, hint } = failureOf(thrown);
  process.exitCode = status;
  if (message === null) return;
  terminal.note(...`reprise: ${message}`.split('\n'));
  if (hint !== null) terminal.note(`  hint: ${hint}`);
  if (process.env['REPRISE_DEBUG']) terminal.note(...inspect(thrown).split('\n'));
}

const CLOSED_CODES: ReadonlySet<string | undefined> = new Set(['EPIPE', 'EIO', 'ERR_STREAM_DESTROYED']);

/**
 * `reprise inspect DIR | head -1` closes our stdout while we write, and a terminal may be closed (`EIO`). The command
 * still runs to its end and sets its exit status. Only the printing stops.
 */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (CLOSED_CODES.has(error.code)) return;
      process.exitCode = EXIT.unexpected;
    });
  }
}
