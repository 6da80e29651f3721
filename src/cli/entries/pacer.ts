import { fstatSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { DueRing } from '../../replay/due-ring.ts';
import { InFlight } from '../../replay/in-flight.ts';
import { LaunchPad } from '../../replay/launch-pad.ts';
import { rehearseLaunches } from '../../replay/launch-rehearsal.ts';
import { Launcher, type WriteNow } from '../../replay/launcher.ts';
import { runPacer } from '../../replay/pacer-thread.ts';
import type { FromPacer, PacerSetup, ToPacer } from '../../replay/thread-messages.ts';
import { tightenTimers } from '../../replay/timer-slack.ts';

/** The thread that keeps time for a replay, and writes what is laid out. Started by the engine only. */
if (!parentPort) throw new Error('the pacer runs as a worker thread');
const port = parentPort;
const { ringMemory, padMemory, inFlightMemory, inFlightLimits, wakePorts } = workerData as PacerSetup;
const ring = new DueRing(ringMemory);
// A sender that died of a fault closed its sockets unasked, and their numbers may be other files' by now.
const writeNow: WriteNow = ({ fd, inode }, bytes, length) =>
  fstatSync(fd).ino === inode ? writeSync(fd, bytes, 0, length) : 0;
const launcher = new Launcher(
  new LaunchPad(padMemory, ring.senders),
  ring.senders,
  new InFlight(inFlightMemory, inFlightLimits),
  systemClock,
  writeNow,
);

rehearseLaunches(systemClock, writeNow);

tightenTimers();
port.once('message', ({ startNs }: ToPacer) => {
  const lateness = runPacer(ring, launcher, startNs, systemClock, (sender) =>
    wakePorts[sender]?.postMessage(0),
  );
  for (const wakePort of wakePorts) wakePort.close();
  port.postMessage({ kind: 'over', lateness } satisfies FromPacer);
});
port.postMessage({ kind: 'ready' } satisfies FromPacer);
