import type { Socket } from 'node:net';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { ForwarderProcess } from '../../proxy/forwarder-process.ts';
import type { FromForwarder, ToForwarder } from '../../proxy/messages.ts';

/** The process that holds the sockets. Signals of the terminal are the supervisor's to answer. */
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const) process.on(signal, () => undefined);

const say = (message: FromForwarder) => {
  if (process.connected) process.send?.(message);
};

const forwarder = new ForwarderProcess({
  clock: systemClock,
  say,
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

let faulty = false;

/**
 * The last line of defence against an error of our own, which no message from either side may cause: what is
 * under way gets a moment, the account is handed over, and the supervisor starts another in its place.
 */
process.on('uncaughtException', (error) => {
  if (faulty) process.exit(1);
  faulty = true;
  process.exitCode = 1;
  const fields = { reason: reasonOf(error), stack: error instanceof Error ? error.stack : undefined };
  say({ type: 'notice', notice: { level: 'error', message: 'forwarder met an error of its own', fields } });
  void forwarder.drain(SUPERVISION.faultDrainMs);
});
