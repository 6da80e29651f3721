import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { afterwards } from '../../support/leftovers.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { local, startWire } from '../../support/wire-stage.ts';

const BYTES = 12 * 1024 * 1024;
const REQUEST = randomBytes(BYTES);
const ANSWER = randomBytes(BYTES);

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Reads to the end, with a pause now and then so that the other side has to wait. */
async function drink(stream: Socket): Promise<string> {
  const hash = createHash('sha256');
  let chunks = 0;
  stream.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    chunks += 1;
    if (chunks % 40 > 0) return;
    stream.pause();
    setTimeout(() => stream.resume(), 2);
  });
  await once(stream, 'end');
  return hash.digest('hex');
}

/** Writes in pieces that fill a stream at once, and in ones that do not. */
async function pour(stream: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0, piece = 0; at < bytes.length; piece += 1) {
    const length = [300_000, 70_000, 9_000, 1][piece % 4] as number;
    if (!stream.write(bytes.subarray(at, at + length))) await once(stream, 'drain');
    at += length;
  }
  stream.end();
}

async function upstream(tls: boolean): Promise<{ port: number; heard: Promise<string> }> {
  const sockets = new Set<Socket>();
  let hear: (hash: string) => void = () => undefined;
  const heard = new Promise<string>((resolve) => {
    hear = resolve;
  });
  const talk = (stream: Socket) => {
    stream.on('error', () => undefined);
    void Promise.all([drink(stream), pour(stream, ANSWER)]).then(([hash]) => hear(hash));
  };
  const identity = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
  const server = tls
    ? createTlsServer({ ...identity, allowHalfOpen: true }, talk)
    : createServer({ allowHalfOpen: true }, talk);
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, heard };
}

async function talkTo(port: number, tls: boolean): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  afterwards(() => socket.destroy());
  const stream = tls ? connectTls({ socket, ca: LOCAL_CERTIFICATE_PEM, servername: 'localhost' }) : socket;
  stream.allowHalfOpen = true;
  stream.on('error', () => undefined);
  await once(stream, tls ? 'secureConnect' : 'connect');
  return stream;
}

describe('large bodies both ways at once, through readers that pause', () => {
  it.each([
    { from: 'plain', to: 'plain', refused: 'reset' },
    { from: 'TLS', to: 'plain', refused: '502' },
    { from: 'plain', to: 'TLS', refused: '502' },
    { from: 'TLS', to: 'TLS', refused: 'reset' },
  ] as const)('arrive unchanged from $from to $to', async ({ from, to, refused }) => {
    const directory = temporaryDirectory();
    const [certPath, keyPath] = ['cert.pem', 'key.pem'].map((name) => join(directory, name));
    writeFileSync(certPath as string, LOCAL_CERTIFICATE_PEM);
    writeFileSync(keyPath as string, LOCAL_CERTIFICATE_KEY_PEM, { mode: 0o600 });
    const { port, heard } = await upstream(to === 'TLS');
    const wire = await startWire({
      listen: local(0, from === 'TLS'),
      target: local(port, to === 'TLS'),
      refused,
      tls: from === 'TLS' ? { certPath: certPath as string, keyPath: keyPath as string } : null,
      upstreamTls:
        to === 'TLS' ? { caPath: certPath as string, serverName: 'localhost', verify: true } : null,
    });
    const client = await talkTo(wire.port, from === 'TLS');
    const [answer, , request] = await Promise.all([drink(client), pour(client, REQUEST), heard]);
    expect([request, answer]).toEqual([sha256(REQUEST), sha256(ANSWER)]);
    expect(wire.ledger.read().seen.bytes).toBe(2 * BYTES);
  });
});
