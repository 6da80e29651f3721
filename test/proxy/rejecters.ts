import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { FailedWrite } from '../../src/proxy/net/peer-socket.ts';
import { repeated } from '../support/long-form.ts';

/** Servers that answer an upload without reading it and close, each in another way and on a separate thread. */
export const REJECTERS = {
  'an HTTP server of Node': `
    require('node:http').createServer((request, response) => {
      response.writeHead(413, { Connection: 'close', 'Content-Length': 3 });
      response.end('big');
    })`,
  'a server that closes at once': `
    require('node:net').createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.pause();
        socket.write(ANSWER, () => socket.destroy());
      });
    })`,
  'a server that ends its side first, and closes a little later': `
    require('node:net').createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.pause();
        socket.end(ANSWER);
        setTimeout(() => socket.destroy(), 20);
      });
    })`,
} as const;
const ANSWER = 'HTTP/1.1 413 Content Too Large\\r\\nConnection: close\\r\\nContent-Length: 3\\r\\n\\r\\nbig';
const UPLOADS_BYTES = [200_000, 5_000_000] as const;
const UPLOADS_EACH = repeated(8, 15);

export type Rejecter = keyof typeof REJECTERS;

/** Starts one of these servers. @returns its port, and its thread for ending it */
export async function rejecter(which: Rejecter): Promise<{ port: number; worker: Worker }> {
  const program = `
    const { parentPort } = require('node:worker_threads');
    const ANSWER = '${ANSWER}';
    const server = ${REJECTERS[which]}.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`;
  const worker = new Worker(program, { eval: true });
  const [port] = await once(worker, 'message');
  return { port: port as number, worker };
}

/**
 * The result of an upload for a client: the status, or why there is none. The client reads the answer even if it cannot
 * write any more. A client that does not would also fail without a wire.
 */
function upload(port: number, bytes: number): Promise<string> {
  return new Promise((resolve) => {
    const createConnection = () => {
      const socket = connect({ port, host: '127.0.0.1' });
      new FailedWrite(socket, socket);
      return socket;
    };
    const headers = { 'Content-Length': bytes };
    const sent = request({ method: 'POST', headers, createConnection }, (answer) => {
      answer.resume();
      resolve(String(answer.statusCode));
    });
    sent.on('error', ({ message }) => resolve(message));
    sent.end(Buffer.alloc(bytes));
  });
}

/** The results of repeated uploads of several sizes. */
export async function answersToUploads(port: number): Promise<string[]> {
  const answers: string[] = [];
  for (const bytes of UPLOADS_BYTES) {
    for (let round = 0; round < UPLOADS_EACH; round += 1) answers.push(await upload(port, bytes));
  }
  return answers;
}
