import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Two ends of one loopback connection. */
export async function socketPair({ allowHalfOpen = false } = {}): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const ours = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen });
  await once(ours, 'connect');
  const [theirs] = await accepted;
  server.close();
  return [ours, theirs];
}
