import { connect, createServer } from 'node:net';

/**
 * The simplest proxy in Node: two sockets piped into each other. Usage: bare-pipe.ts TARGET_PORT
 * It sends its port to the process that forked it, or else prints it. A forked pipe ends with its parent.
 */
const targetPort = Number(process.argv[2]);

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const upstream = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
  client.pipe(upstream);
  upstream.pipe(client);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address === null || typeof address === 'string') return;
  if (process.send) process.send({ port: address.port });
  else console.log(`port ${address.port}`);
});
process.on('disconnect', () => process.exit());
