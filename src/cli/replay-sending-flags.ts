import type { Command } from 'commander';
import { LIMITS } from '../core/limits.ts';
import { formatBytes } from '../core/units.ts';
import { CONNECTION_POLICIES, SENDING_DEFAULTS } from '../replay/sending-options.ts';
import { SESSION_ORDERS } from '../replay/session-order.ts';

/** Adds the flags that say how requests are sent. */
export function addSendingFlags(command: Command): Command {
  return command
    .option('--senders <n>', `threads that send, at most ${LIMITS.senders}`, SENDING_DEFAULTS.senders)
    .option(
      '--connections <how>',
      `${CONNECTION_POLICIES.join(' or ')}: any that is free, or the one it was recorded on`,
      SENDING_DEFAULTS.connections,
    )
    .option(
      '--session-order <order>',
      `${SESSION_ORDERS.join(' or ')}: follow-ups at their planned instants, or once what they follow is over`,
      SENDING_DEFAULTS.sessionOrder,
    )
    .option('--max-connection-age <time>', 'connections older than this are replaced (default: none are)')
    .option('--max-in-flight <n>', 'more due requests than this are refused', String(LIMITS.inFlight))
    .option(
      '--max-in-flight-bytes <size>',
      'as many bytes of bodies may be on their way at once',
      formatBytes(LIMITS.inFlightBytes),
    )
    .option('--timeout <time>', 'how long a request may take', SENDING_DEFAULTS.timeout)
    .option('--connect-timeout <time>', 'how long connecting may take', SENDING_DEFAULTS.connectTimeout)
    .option('--first-byte-timeout <time>', 'how long an answer may be waited for (default: --timeout)')
    .option('--idle-timeout <time>', 'how long an answer may pause', SENDING_DEFAULTS.idleTimeout);
}
