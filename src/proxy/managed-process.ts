import { type ChildProcess, fork, type Serializable } from 'node:child_process';
import type { Socket } from 'node:net';
import { setPriority } from 'node:os';
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';

interface ProcessSpec {
  readonly entry: string;
  readonly execArgv?: readonly string[];
  /** Added to the scheduling priority: above 0 yields to everybody else. */
  readonly niceness?: number;
  /** Byte pipes to partners; 1 unless it says so. */
  readonly pipes?: number;
}

/** Where a process of ours finds its first byte pipe; the others follow. */
export const PIPE_FD = 4;

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export function endText(end: ProcessEnd): string {
  return end.signal ?? `exit ${end.code}`;
}

/**
 * Garbage is collected by the thread that made it. By default V8 has four helpers for that in each process, which can
 * keep every processor of a small host, or use up its share of one, for milliseconds in which nothing is forwarded.
 */
export const COLLECTING_ALONE = '--single-threaded-gc';

/**
 * Everything is made young. By default V8 notes how much of what one place in the code makes outlives its first
 * collection, and makes what comes of that place in the old generation from then on. Of a place that all share, such
 * as the one in Node where the second listener of an event is added, that is learned from the sockets of the first
 * moments, and holds for each request after them: what it leads to is kept until the next full collection.
 */
export const ALLOCATING_YOUNG = '--no-allocation-site-pretenuring';

/** Whoever shares the loopback of a process whose debugger is open, of a pod say, runs code in it. */
export const NO_DEBUGGER = '--disable-sigusr1';

/**
 * A child process of the supervisor: messages both ways, byte pipes, and the time of its last word. Its end is
 * reported once, whatever ended it.
 */
export class ManagedProcess<In extends { readonly type: string }, Out> {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #pipes: (Socket | null)[];
  lastWordNs: number;
  readonly ended: Promise<ProcessEnd>;

  constructor(spec: ProcessSpec, clock: Clock, onMessage: (message: In) => void) {
    this.#clock = clock;
    this.lastWordNs = clock.nowNs();
    const pipes = spec.pipes ?? 1;
    this.#child = fork(spec.entry, {
      execArgv: [...process.execArgv, NO_DEBUGGER, ...(spec.execArgv ?? [])],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', ...Array<'pipe'>(pipes).fill('pipe')],
    });
    this.#pipes = Array.from({ length: pipes }, (_, index) =>
      unread(this.#child.stdio[PIPE_FD + index] as Socket),
    );
    this.#child.on('message', (message) => {
      this.lastWordNs = clock.nowNs();
      onMessage(message as In);
    });
    this.ended = new Promise((resolve) => {
      this.#child.on('exit', (code, signal) => resolve({ code, signal }));
      // A process that could not be started has no exit; this is its end.
      this.#child.on('error', () => resolve({ code: null, signal: null }));
    });
    void this.ended.then(() => this.#dropPipes());
    if (spec.niceness !== undefined) lowerPriority(this.#child.pid, spec.niceness);
  }

  get pid(): number | null {
    return this.#child.pid ?? null;
  }

  /** This side's end of one of the child's byte pipes, to be handed to a partner. Once; then null. */
  takePipe(index = 0): Socket | null {
    const pipe = this.#pipes[index] ?? null;
    this.#pipes[index] = null;
    return pipe;
  }

  /** Nanoseconds since the child last said anything. */
  silenceNs(): number {
    return this.#clock.nowNs() - this.lastWordNs;
  }

  /** Says something, and hands a socket over with it. A child that is gone hears nothing; its end is reported. */
  send(message: Out, socket: Socket | null = null): void {
    if (this.#child.connected)
      this.#child.send(message as Serializable, socket ?? undefined, () => undefined);
    else socket?.destroy();
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** A pipe that nobody took is not read, so its end would never be noticed and its descriptor never freed. */
  #dropPipes(): void {
    for (const pipe of this.#pipes) pipe?.destroy();
    this.#pipes.fill(null);
  }
}

/**
 * Node starts to read our end of a child's pipe as soon as it exists, and goes on while the pipe is handed to
 * another process: what arrived meanwhile would be gone, and with it the framing of all that follows. There is
 * no public way to keep it from reading; asked in the very tick in which the pipe was made, it has read nothing.
 */
function unread(pipe: Socket): Socket {
  const { _handle: handle } = pipe as Socket & { _handle?: { readStop(): number; reading: boolean } };
  if (!handle) throw new AppError('INTERNAL', 'the pipe to a process of our own could not be made');
  handle.reading = false;
  handle.readStop();
  return pipe;
}

/** Best effort: where the host does not allow it, the recorder competes with the traffic for the processor. */
function lowerPriority(pid: number | undefined, niceness: number): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, niceness);
  } catch {
    // Not ours to insist on: everything works without it.
  }
}
