import type { HostLimits } from '../monitors/host-limits.ts';
import type { ForwarderOptions } from '../proxy/messages.ts';

/** Descriptors of a forwarder that are no connection's: listeners, pipes, the runtime's own, probes of files. */
const KEPT_FREE = 100;

/**
 * How many connections a forwarder can hold open within the limit of open files; null where there is no limit.
 * Each takes two, the client's and the upstream's; a gateway's takes the second only while a request is in flight.
 *
 * Whoever comes beyond must be turned away by us: with no descriptor left at all, the runtime accepts and closes
 * what waits, and says it to nobody.
 */
export function connectionRoom({ openFiles }: HostLimits, maxInFlight: number | null): number | null {
  if (openFiles === null || openFiles === Number.POSITIVE_INFINITY) return null;
  const free = openFiles - KEPT_FREE;
  const room = Math.max(Math.floor(free / 2), maxInFlight === null ? 0 : free - maxInFlight);
  return Math.max(0, room);
}

/** The options with no more connections than the host has descriptors for. */
export function withinRoom(options: ForwarderOptions, limits: HostLimits): ForwarderOptions {
  const room = connectionRoom(limits, options.mode === 'gateway' ? options.maxInFlight : null);
  if (room === null || room >= options.maxConnections) return options;
  // One, where there is room for none: it will fail and say why, which a recorder that refuses all would not.
  return { ...options, maxConnections: Math.max(1, room) };
}
