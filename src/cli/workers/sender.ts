import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { ThreadPriority } from '../../proxy/control/priority.ts';
import type { SenderSetup } from '../../replay/engine/messages.ts';
import { SenderThread } from '../../replay/engine/sender-thread.ts';

/** The thread that owns the sockets of a replay. Started by the engine only. */
if (!parentPort) throw new Error('the sender runs as a worker thread');
const takePriority = () => new ThreadPriority(SUPERVISION.sendingNiceness);
await new SenderThread(workerData as SenderSetup, parentPort, systemClock, takePriority).run();
