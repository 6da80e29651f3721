import { inspect } from 'node:util';
import { EXIT, failureOf } from './exit.ts';
import { prepare } from './program.ts';
import { terminal } from './terminal.ts';

/** Runs one command line (without `node` and the script) and leaves its status in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  surviveClosedPipes();
  process.on('uncaughtException', (thrown) => {
    fail(thrown);
    process.exit();
  });
  try {
    const { program } = await prepare(args);
    await program.parseAsync(args, { from: 'user' });
  } catch (thrown) {
    fail(thrown);
  }
}

function fail(thrown: unknown): void {
  const { status, message, hint } = failureOf(thrown);
  process.exitCode = status;
  if (message === null) return;
  terminal.note(...`reprise: ${message}`.split('\n'));
  if (hint !== null) terminal.note(`  hint: ${hint}`);
  if (process.env['REPRISE_DEBUG']) terminal.note(...inspect(thrown).split('\n'));
}

/**
 * `reprise inspect DIR | head -1` closes our stdout while we write. What was asked for still runs to its end,
 * with its own exit status; only the printing stops.
 */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') return;
      process.exitCode = EXIT.unexpected;
    });
  }
}
