import { parentPort, workerData } from 'node:worker_threads';
import { main } from '../main.ts';
import type { CommandSetup, CommandSignal, Screen, Unheard } from '../signals.ts';

/** The command thread: runs a command with a small heap. Started only by the main thread of the same command. */
if (!parentPort) throw new Error('the command runs as a worker thread');
const port = parentPort;
const { args, stdout, stderr } = workerData as CommandSetup;

/** Tells a stream of this thread whether the process prints its output on a terminal. */
function present(stream: NodeJS.WriteStream, { isTTY, columns }: Screen): void {
  Object.assign(stream, isTTY ? { isTTY, columns } : {});
}
present(process.stdout, stdout);
present(process.stderr, stderr);

port.on('message', (signal: CommandSignal) => {
  if (!process.emit(signal, signal)) port.postMessage({ unheard: signal } satisfies Unheard);
});
// Listening for signals must not keep the thread alive when the command has nothing left to do.
port.unref();
await main(args);
