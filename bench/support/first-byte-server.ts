import { createServer } from 'node:http';

/** Time between two events of a stream, ms. So 500 streams have 5,000 events a second. */
const EVENT_MS = 100;
const EVENT = `data: ${JSON.stringify({ choices: [{ delta: { content: 'word ' } }] })}\n\n`;

/**
 * Answers each request when it is complete. Under a path that ends in `/stream`, it sends events until the client
 * leaves.
 */
const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (!request.url?.endsWith('/stream')) {
      response.setHeader('content-type', 'application/json');
      response.end('{"ok":true}');
      return;
    }
    response.setHeader('content-type', 'text/event-stream');
    const timer = setInterval(() => response.write(EVENT), EVENT_MS);
    response.on('close', () => clearInterval(timer));
  });
});
server.keepAliveTimeout = 120_000;
server.listen({ port: 0, host: '127.0.0.1', backlog: 1_024 }, () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit());
