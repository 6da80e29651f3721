import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FailedWrite } from '../../../src/proxy/net/peer-socket.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { tlsClient, tlsUpstream, VERIFIED } from '../../support/tls-stage.ts';
import { client, local, startWire, upstreamServer } from '../../support/wire-stage.ts';

const REJECTION = 'HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

/** Answers an upload that it does not read, and is gone. */
function reject(stream: Socket): void {
  stream.once('data', () => {
    stream.pause();
    stream.write(REJECTION, () => stream.destroy());
  });
}

/** What a client reads of the answer to an upload, over and over. */
async function answersToUploads(connectOne: () => Promise<Socket>): Promise<string[]> {
  const answers: string[] = [];
  for (let round = 0; round < 10; round += 1) {
    const stream = await connectOne();
    new FailedWrite(stream, stream);
    let answer = '';
    stream.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
    });
    stream.write(Buffer.alloc(5_000_000));
    // Where the kernel took all of the upload, nothing but the end of the answer is heard.
    await new Promise((resolve) => stream.on('error', resolve).on('close', resolve).on('end', resolve));
    stream.destroy();
    answers.push(answer);
  }
  return answers;
}

describe('an answer to an upload that nobody reads', () => {
  it('arrives from an upstream that speaks TLS', async () => {
    const { port } = await tlsUpstream(reject);
    const wire = await startWire({ target: local(port, true), upstreamTls: VERIFIED() });
    const answers = await answersToUploads(() => client(wire.port));
    expect(answers).toEqual(answers.map(() => REJECTION));
  });

  it('arrives at a client that speaks TLS', async () => {
    const port = await upstreamServer(reject);
    const wire = await startWire({ listen: local(0, true), target: local(port), tls: mountedSecret() });
    const answers = await answersToUploads(() => tlsClient(wire.port));
    expect(answers).toEqual(answers.map(() => REJECTION));
  });
});
