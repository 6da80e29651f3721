import type { Socket } from 'node:net';
import { FailedWrite } from '../failed-write.ts';

/** Where a socket carries what is known of its writes. A map beside it would cost each collection. */
const FAILED_WRITE = Symbol('failed write');
type Carrying = Socket & { [FAILED_WRITE]?: FailedWrite };

/**
 * Lets an answer be read that a target gave before it broke the connection off; one and the same for all requests
 * that a connection serves.
 */
export function failedWriteOf(socket: Socket): FailedWrite {
  const carrying = socket as Carrying;
  carrying[FAILED_WRITE] ??= new FailedWrite(socket, socket);
  return carrying[FAILED_WRITE];
}
