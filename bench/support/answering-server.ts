import { createServer } from 'node:net';

/**
 * An upstream that costs as little as Node allows: it counts request bytes instead of parsing them and answers
 * each `requestBytes` with the same response. A process of its own, billed to nobody.
 * Usage: answering-server.ts REQUEST_BYTES RESPONSE_BODY_BYTES
 */
const requestBytes = Number(process.argv[2]);
const body = 'x'.repeat(Number(process.argv[3]));
const response = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

const server = createServer({ noDelay: true }, (socket) => {
  let pending = 0;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    pending += chunk.length;
    for (; pending >= requestBytes; pending -= requestBytes) socket.write(response);
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit());
