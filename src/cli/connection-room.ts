import type { HostLimits } from '../monitors/host-limits.ts';
import type { Pair } from '../proxy/data-plane.ts';
import type { PlaneOptions } from '../proxy/messages.ts';
import { targetsOf } from './record-plane.ts';

/** Descriptors of a forwarder that are no connection's: some 28 of the runtime's and its pipes, and a few for files. */
const KEPT_FREE = 40;

/** What decides how many descriptors the connections of a forwarder take. */
interface Demand {
  readonly pairs: readonly Pair[];
  /** Null in the wire plane, where each client has an upstream connection of its own. */
  readonly gateway: { readonly upstreams: number; readonly maxInFlight: number } | null;
}

/** As `doctor` has it, which knows of no addresses and no routes. */
export const WIRE_DEMAND: Demand = { pairs: [], gateway: null };

/**
 * How many client connections a forwarder can hold within the limit of open files; null where there is no limit.
 * Each takes two descriptors in the wire plane. A gateway's takes a second only while a request is in flight, but
 * every upstream may keep as many connections as were ever in flight to it.
 *
 * Whoever comes beyond must be turned away by us: with no descriptor left at all, the runtime accepts and closes
 * what waits, and says it to nobody.
 */
export function connectionRoom({ openFiles }: HostLimits, { pairs, gateway }: Demand): number | null {
  if (openFiles === null || openFiles === Number.POSITIVE_INFINITY) return null;
  const free = Math.max(0, openFiles - KEPT_FREE - pairs.length);
  if (gateway === null) return Math.floor(free / 2);
  const { upstreams, maxInFlight } = gateway;
  return Math.max(Math.floor(free / (1 + upstreams)), free - upstreams * maxInFlight);
}

/** The options with no more connections than the host has descriptors for. */
export function withinRoom(options: PlaneOptions, limits: HostLimits): PlaneOptions {
  const room = connectionRoom(limits, demandOf(options));
  if (room === null || room >= options.maxConnections) return options;
  // By the sum there is room for nobody. Whom it serves nevertheless must not be turned away for a sum.
  if (room === 0) return options;
  return { ...options, maxConnections: room };
}

function demandOf(options: PlaneOptions): Demand {
  const { pairs } = options;
  if (options.mode === 'wire') return { pairs, gateway: null };
  const upstreams = targetsOf(options).length;
  // A tunnel is not in flight, and holds its upstream connection for as long as it lasts.
  const maxInFlight = options.websocket ? Number.POSITIVE_INFINITY : options.maxInFlight;
  return { pairs, gateway: { upstreams, maxInFlight } };
}
