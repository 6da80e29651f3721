import { createServer } from 'node:http';

/** Answers each request after this number of milliseconds, like a model. Usage: slow-server.ts MILLISECONDS */
const delayMs = Number(process.argv[2]);
const server = createServer((request, response) => {
  request.resume();
  setTimeout(() => response.end('{"outputs":[]}'), delayMs);
});
server.keepAliveTimeout = 5_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit());
