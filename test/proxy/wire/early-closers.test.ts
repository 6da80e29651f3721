import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { FailedWrite } from '../../../src/proxy/wire/failed-write.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { afterwards, local, startWire } from '../../support/wire-stage.ts';

const BODY = Buffer.alloc(1_500_000, 'x');
const ROUNDS = 60;

/** Reads a body to its last byte, answers, and is gone: on a thread of its own, so that nothing of ours runs between. */
const ANSWERER = `
const { createServer } = require('node:net');
const { parentPort, workerData } = require('node:worker_threads');
createServer((socket) => {
  let left = workerData.bytes;
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    left -= chunk.length;
    if (left === 0) socket.write('ANSWER', () => socket.destroy());
  });
}).listen(workerData.path, () => parentPort.postMessage('listening'));
`;

/** A pipe to a recorder that takes everything at once. */
function quickPipe(): Duplex {
  return new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
}

describe('a unix upstream that is gone as soon as it has answered', () => {
  it('is not taken for one that broke off: whoever waited for what was written to it gets the answer', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'target');
    const answerer = new Worker(ANSWERER, { eval: true, workerData: { path, bytes: BODY.length } });
    afterwards(() => answerer.terminate());
    await once(answerer, 'message');
    const wire = await startWire({ target: { kind: 'unix', path } });
    wire.link.attach(quickPipe());
    const outcomes: string[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const socket = connect({ port: wire.port, host: '127.0.0.1' });
      let answer = '';
      socket.on('data', (chunk: Buffer) => {
        answer += chunk.toString();
      });
      socket.on('error', (error) => outcomes.push(error.message));
      socket.write(BODY);
      await once(socket, 'close').catch(() => undefined);
      outcomes.push(answer);
    }
    expect(outcomes).toEqual(Array.from({ length: ROUNDS }, () => 'ANSWER'));
    expect(wire.forwarder.connections.failed).toEqual({});
  });
});

/** Answers an upload without reading it and closes: each in its own way, on a thread of its own. */
const REJECTERS = {
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
const UPLOADS_EACH = 15;

/** The port of one of them. */
async function rejecter(which: keyof typeof REJECTERS): Promise<number> {
  const program = `
    const { parentPort } = require('node:worker_threads');
    const ANSWER = '${ANSWER}';
    const server = ${REJECTERS[which]}.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`;
  const worker = new Worker(program, { eval: true });
  afterwards(() => worker.terminate());
  const [port] = await once(worker, 'message');
  return port as number;
}

/**
 * What a client makes of an upload: the status, or why there is none. It reads what has come to it, although it could
 * not write on: a client that does not is in the same straits without a wire.
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

describe('an upstream that answers an upload before it has read it, and closes', () => {
  const cases = Object.keys(REJECTERS).flatMap((which) =>
    (['reset', '502'] as const).map((refused) => [which, refused] as const),
  );

  it.each(cases)('is heard: %s, with --refused=%s', async (which, refused) => {
    const port = await rejecter(which as keyof typeof REJECTERS);
    const wire = await startRecordedWire({ target: local(port), refused });
    const outcomes: string[] = [];
    for (const bytes of UPLOADS_BYTES) {
      for (let round = 0; round < UPLOADS_EACH; round += 1) outcomes.push(await upload(wire.port, bytes));
    }
    expect(outcomes).toEqual(outcomes.map(() => '413'));
    expect(wire.forwarder.connections.failed).toEqual({});
    await wire.settled();
    const recorded = wire.sink.exchanges.map(({ status, outcome }) => `${status} ${outcome}`);
    expect(recorded).toEqual(outcomes.map(() => '413 completed'));
  });
});
