import { createServer } from 'node:net';
import { MessageCounter } from './message-counter.ts';

/**
 * An upstream with as little work as Node allows: it counts requests without parsing them and gives each the same
 * response. It is a separate process, and its CPU time counts for no contender.
 * Usage: answering-server.ts REQUEST_BODY_BYTES RESPONSE_BODY_BYTES
 */
const requestBodyBytes = Number(process.argv[2]);
const body = 'x'.repeat(Number(process.argv[3]));
const response = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

const server = createServer({ noDelay: true }, (socket) => {
  const requests = new MessageCounter(requestBodyBytes);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    for (let due = requests.push(chunk); due > 0; due -= 1) socket.write(response);
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
});
process.on('disconnect', () => process.exit());
