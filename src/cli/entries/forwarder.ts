import type { Socket } from 'node:net';
import { systemClock } from '../../core/clock.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { ForwarderProcess } from '../../proxy/forwarder-process.ts';
import type { ToForwarder } from '../../proxy/messages.ts';

/** The process that holds the sockets. Signals of the terminal are the supervisor's to answer. */
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

const forwarder = new ForwarderProcess({
  clock: systemClock,
  say: (message) => {
    if (process.connected) process.send?.(message);
  },
  // The channel is all that keeps an idle forwarder alive; what it still has to say goes out first. Whatever
  // else might hold the process must not outlive a recording.
  onEnd: () => {
    setImmediate(() => process.connected && process.disconnect());
    setTimeout(() => process.exit(), SUPERVISION.lingerMs).unref();
  },
});

process.on('message', (message, socket) => {
  void forwarder.hear(message as ToForwarder, socket as Socket | undefined);
});
process.on('disconnect', () => void forwarder.drain(SUPERVISION.drainDeadlineMs));
