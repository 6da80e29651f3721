import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { parentPort } from 'node:worker_threads';

/**
 * A thread with a server and one client. The server answers `/bulk` with a gibibyte and everything else with a few
 * bytes. The client requests `/bulk` from a proxy repeatedly, as fast as possible. The thread posts the server's port,
 * receives the proxy's, and posts how many bytes the client has received.
 */
const ANSWER_BYTES = 1024 * 1024 * 1024;
const PIECE = Buffer.alloc(256 * 1024, 'x');

const server = createServer((request, response) => {
  request.resume().on('end', () => {
    if (request.url !== '/bulk') {
      response.end(`{"id":${request.url?.split('=')[1]},"label":1}`);
      return;
    }
    response.writeHead(200, { 'Content-Length': ANSWER_BYTES });
    let sent = 0;
    const pour = () => {
      while (sent < ANSWER_BYTES) {
        sent += PIECE.length;
        if (!response.write(PIECE)) return;
      }
      response.end();
    };
    response.on('drain', pour);
    pour();
  });
}).listen(0, '127.0.0.1');

let bytes = 0;

function fetchBulk(port: number): void {
  const socket = connect(port, '127.0.0.1');
  socket.write('GET /bulk HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  socket.on('error', () => undefined);
  socket.on('close', () => fetchBulk(port));
}

await once(server, 'listening');
parentPort?.once('message', (port: number) => {
  fetchBulk(port);
  setInterval(() => parentPort?.postMessage(bytes), 100);
});
parentPort?.postMessage((server.address() as AddressInfo).port);
