import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { ThreadPriority } from '../../proxy/control/priority.ts';
import type { FromPacer, PacerSetup, ToPacer } from '../../replay/engine/messages.ts';
import { runPacer } from '../../replay/engine/pacer.ts';
import { DueRing } from '../../replay/engine/shared-memory.ts';

/** The pacer thread: wakes the senders of a replay on time. Started only by the engine. */
if (!parentPort) throw new Error('the pacer runs as a worker thread');
const port = parentPort;
const { ringMemory, wakePorts } = workerData as PacerSetup;
const { highest: niceness } = new ThreadPriority(SUPERVISION.sendingNiceness);

port.once('message', ({ startNs }: ToPacer) => {
  const lateness = runPacer(new DueRing(ringMemory), startNs, systemClock, (sender) =>
    wakePorts[sender]?.postMessage(0),
  );
  for (const wakePort of wakePorts) wakePort.close();
  port.postMessage({ kind: 'over', lateness, niceness } satisfies FromPacer);
});
port.postMessage({ kind: 'ready' } satisfies FromPacer);
