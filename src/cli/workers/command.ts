import { parentPort, workerData } from 'node:worker_threads';
import { main } from '../main.ts';
import type { CommandSetup, CommandSignal, Screen, Unheard } from '../signals.ts';

/** The thread of a command that is held to a small heap. Started by the process of the same command only. */
if (!parentPort) throw new Error('the command runs as a worker thread');
const port = parentPort;
const { args, stdout, stderr } = workerData as CommandSetup;

/** What is written here is printed by the process, on what may be a terminal. */
function present(stream: NodeJS.WriteStream, { isTTY, columns }: Screen): void {
  Object.assign(stream, isTTY ? { isTTY, columns } : {});
}
present(process.stdout, stdout);
present(process.stderr, stderr);

port.on('message', (signal: CommandSignal) => {
  if (!process.emit(signal, signal)) port.postMessage({ unheard: signal } satisfies Unheard);
});
// Being heard is not work: the command ends when it has nothing left to do.
port.unref();
await main(args);
