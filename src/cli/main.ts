import { inspect } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { EXIT, failureOf } from './exit.ts';
import { runInThread } from './signals.ts';
import { terminal } from './terminal.ts';

/** Help reads nothing, and needs no thread. */
const HELP: ReadonlySet<string> = new Set(['--help', '-h', '--help-all']);
/**
 * Commands that read a capture by the million to plan or play it. They run in a thread, because only a thread can be
 * held to a small heap, and because the thread that watches a run must not wait for its other threads.
 */
const IN_THREAD: ReadonlySet<string> = new Set(['replay', 'selftest']);

/** Runs one command line (without `node` and the script) and leaves its status in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  surviveClosedPipes();
  process.on('uncaughtException', (thrown) => {
    fail(thrown);
    process.exit();
  });
  try {
    if (isMainThread && !args.some((arg) => HELP.has(arg))) {
      const command = commandOf(args);
      if (IN_THREAD.has(command)) {
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
  try {
    // Not before: a process whose command runs in a thread needs none of it.
    const { prepare } = await import('./commands/index.ts');
    const { program } = await prepare(args);
    await program.parseAsync(args, { from: 'user' });
  } catch (thrown) {
    fail(thrown);
  }
}

/** Flags of the program that stand before its command and are followed by a value. */
const WITH_VALUE: ReadonlySet<string> = new Set(['--log-format', '--config']);

/** The name of the command that a command line means; empty where it names none. */
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
 * `reprise inspect DIR | head -1` closes our stdout while we write, and a terminal may be closed (`EIO`). What was
 * asked for still runs to its end, with its own exit status; only the printing stops.
 */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (CLOSED_CODES.has(error.code)) return;
      process.exitCode = EXIT.unexpected;
    });
  }
}
