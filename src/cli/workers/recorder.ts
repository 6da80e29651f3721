import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { systemClock } from '../../core/clock.ts';
import { PIPE_FD } from '../../proxy/managed-process.ts';
import type { ToRecorder } from '../../proxy/messages.ts';
import { RecorderProcess } from '../recorder-process.ts';
import type { RecorderSettings } from '../recording.ts';

/** The process that assembles and stores. Signals of the terminal are the supervisor's to answer. */
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined);

/**
 * Most of what a recorder holds are bytes outside the heap, which is small. V8 takes the heap's size as the measure
 * of when to collect next and did so a hundred times a second, at more than all else took. A V8 without this
 * flag says so and goes on.
 */
setFlagsFromString('--heap-growing-percent=400');

const recorder = new RecorderProcess({
  clock: systemClock,
  say: (message) => {
    if (process.connected) process.send?.(message);
  },
  // What it still has to say goes out first.
  onEnd: () => setImmediate(() => process.exit()),
});

process.on('message', (message, socket) => {
  recorder.hear(message as ToRecorder<RecorderSettings>, (slot) =>
    slot === null ? (socket as Socket | undefined) : new Socket({ fd: PIPE_FD + slot }),
  );
});
process.on('disconnect', () => recorder.orphaned());
