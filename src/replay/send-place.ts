import type { ExchangeRow } from '../core/exchange.ts';
import type { ConnectionPolicy } from './options/replay-options.ts';
import { identityOf } from './scaling/scaling.ts';
import type { PlannedSend } from './schedule.ts';
import { sessionName } from './sessions.ts';

/** Where a request goes among senders and connections. */
export interface SendPlace {
  /** The same for what goes to the same sender; left out for what stands alone. */
  readonly stripe?: number | undefined;
  /** The recorded connection it waits for; null where any will do. */
  readonly lane: number | null;
}

type Placed = Pick<PlannedSend, 'row' | 'copy' | 'layer'>;

/**
 * A session goes to one sender, so that its requests keep their order whatever becomes of the other senders; where
 * connections are as recorded, a connection does. A copy is somebody else and goes its own way.
 */
export function placeOf(send: Placed, connections: ConnectionPolicy): SendPlace {
  const lane = connections === 'recorded' ? laneOf(send) : null;
  if (lane !== null) return { stripe: lane, lane };
  const name = sessionName(send.row);
  return name === null ? { lane } : { stripe: fnv1a(name, identityOf(send.layer, send.copy)), lane };
}

/**
 * Number of a recorded connection; each copy has one of its own. Null where the recording knows of none. 53 bits
 * of a hash, so that nothing has to be remembered: of a million connections two are taken for one with a
 * probability of 1 in 18,000, and then wait for each other.
 */
export function laneOf({ row, copy, layer }: Placed): number | null {
  if (row.connection === null) return null;
  const name = connectionName(row, row.connection);
  const identity = identityOf(layer, copy);
  return (fnv1a(name, identity) & 0x1fffff) * 2 ** 32 + fnv1a(name, ~identity);
}

/** Connections are numbered within the life of a recorder, which its id stands for. */
function connectionName({ recorder }: Pick<ExchangeRow, 'recorder'>, connection: number): string {
  return `${recorder} ${connection}`;
}

/** The 32-bit hash of Fowler, Noll and Vo over a text of single bytes, begun with a number; mixed at the end. */
function fnv1a(text: string, begin: number): number {
  let hash = 0x811c9dc5;
  for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((begin >>> shift) & 0xff), 0x01000193);
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  // Its low bits alone are poorly mixed, and they decide which of a few senders it is.
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) >>> 0;
}
