import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { entryUrl } from '../../app/package.ts';
import type { RecorderSettings } from '../../app/recording/capture.ts';
import { RecorderProcess } from '../../app/recording/recorder-process.ts';
import { systemClock } from '../../core/clock.ts';
import type { ToRecorder } from '../../proxy/control/messages.ts';
import { PIPE_FD } from '../../proxy/control/recorder-supervisor.ts';

/**
 * The process that assembles and stores. Signals of the terminal, which it shares with the proxy, are that one's to
 * answer. After a quit, which ends the proxy, it keeps what came through the pipe.
 */
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const)
  process.on(signal, () => undefined);

/**
 * Most of what a recorder holds are bytes outside the heap, which is small. V8 takes the heap's size as the measure
 * of when to collect next and did so a hundred times a second, at more than all else took. A V8 without this
 * flag says so and goes on.
 */
setFlagsFromString('--heap-growing-percent=400');

/** Small buffers are cut from blocks of this size. With Node's 8 KiB, three exchanges take one and make it garbage. */
Buffer.poolSize = 16 * 1024;

/** What one read of the pipe takes at most; a full queue empties in larger pieces than Node's 64 KiB. */
const PIPE_READ_BYTES = 256 * 1024;

/** Reads into one buffer that is used again: frames are taken out of it at once, and a buffer a read is garbage. */
function pipe(): Socket {
  const buffer = Buffer.allocUnsafeSlow(PIPE_READ_BYTES);
  const callback = (bytes: number) => socket.emit('data', buffer.subarray(0, bytes));
  const socket = new Socket({ fd: PIPE_FD, onread: { buffer, callback } });
  return socket;
}

const recorder = new RecorderProcess({
  clock: systemClock,
  sealerEntry: entryUrl('sealer'),
  pipe,
  say: (message) => {
    // To a proxy that was killed a moment ago nothing can be said; what it sent before is to be kept all the same.
    if (process.connected) process.send?.(message, () => undefined);
  },
  // What it still has to say goes out first.
  onEnd: () => setImmediate(end),
});

/** An exit waits for look-ups of the mirror's name: a resolver that hangs would hold it for half a minute. */
function end(): void {
  if (process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) process.kill(process.pid, 'SIGKILL');
  else process.exit();
}

process.on('message', (message) => recorder.hear(message as ToRecorder<RecorderSettings>));
process.on('disconnect', () => recorder.orphaned());
