import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { afterwards } from '../../support/leftovers.ts';
import { startRecordedWire } from '../../support/recorded-wire.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { local, startWire } from '../../support/wire-stage.ts';
import { answersToUploads, REJECTERS, type Rejecter, rejecter } from '../rejecters.ts';

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

describe('an upstream that answers an upload before it has read it, and closes', () => {
  const cases = Object.keys(REJECTERS).flatMap((which) =>
    (['reset', '502'] as const).map((refused) => [which, refused] as const),
  );

  it.each(cases)('is heard: %s, with --refused=%s', async (which, refused) => {
    const { port, worker } = await rejecter(which as Rejecter);
    afterwards(() => worker.terminate());
    const wire = await startRecordedWire({ target: local(port), refused });
    const outcomes = await answersToUploads(wire.port);
    expect(outcomes).toEqual(outcomes.map(() => '413'));
    expect(wire.forwarder.connections.failed).toEqual({});
    await wire.settled();
    const recorded = wire.sink.exchanges.map(({ status, outcome }) => `${status} ${outcome}`);
    expect(recorded).toEqual(outcomes.map(() => '413 completed'));
  });
});
