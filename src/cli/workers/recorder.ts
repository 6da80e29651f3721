import { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { entryUrl } from '../../app/package.ts';
import type { RecorderSettings } from '../../app/recording/capture.ts';
import { RecorderProcess } from '../../app/recording/recorder-process.ts';
import { systemClock } from '../../core/clock.ts';
import type { ToRecorder } from '../../proxy/control/messages.ts';
import { PIPE_FD } from '../../proxy/control/recorder-supervisor.ts';

/**
 * The recorder process, which assembles and stores exchanges. It ignores signals of the terminal, because the proxy
 * gets them too and handles them. SIGQUIT ends the proxy; the recorder then still stores the data from the pipe.
 */
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const)
  process.on(signal, () => undefined);

/**
 * Most memory of a recorder is outside the heap, which is small. V8 decides by the heap's size when to collect next.
 * Without this flag it collected a hundred times a second, which cost more than all other work. A V8 that does not know
 * the flag prints a warning and continues.
 */
setFlagsFromString('--heap-growing-percent=400');

/** Small buffers are cut from blocks of this size. Three exchanges would use up Node's 8 KiB and make it garbage. */
Buffer.poolSize = 16 * 1024;

/** Most bytes of one read of the pipe. It is above Node's 64 KiB, so that a full queue needs fewer reads. */
const PIPE_READ_BYTES = 256 * 1024;

/** Reads into one reused buffer. Frames are copied out at once, and a new buffer for each read would be garbage. */
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
    // If the proxy was just killed, the message is dropped. The data that it sent before is still stored.
    if (process.connected) process.send?.(message, () => undefined);
  },
  // Pending messages are sent first.
  onEnd: () => setImmediate(end),
});

/** `exit` waits for DNS look-ups of the mirror's name. A resolver that hangs would delay it for half a minute. */
function end(): void {
  if (process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) process.kill(process.pid, 'SIGKILL');
  else process.exit();
}

process.on('message', (message) => recorder.hear(message as ToRecorder<RecorderSettings>));
process.on('disconnect', () => recorder.orphaned());
