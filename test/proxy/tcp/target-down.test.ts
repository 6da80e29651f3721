import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../../support/certificate.ts';
import { freePort } from '../../support/free-port.ts';
import { afterwards } from '../../support/leftovers.ts';
import { VERIFIED } from '../../support/tls-stage.ts';
import { client, everything, failure, local, startWire } from '../../support/wire-stage.ts';

const REQUEST = 'POST /v1/chat HTTP/1.1\r\nHost: model\r\nContent-Length: 4\r\n\r\nbody';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** A server that begins to listen on a port where nobody listened. It keeps what it is told, and answers `bytes`. */
async function serverOn(port: number, bytes: number) {
  const told: Buffer[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    let seen = 0;
    socket.on('data', (chunk: Buffer) => {
      if (seen === 0) connections += 1;
      seen += chunk.length;
      told.push(chunk);
      if (seen === bytes) socket.end(ANSWER);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  afterwards(close);
  return { told: () => Buffer.concat(told), connections: () => connections, close };
}

/** Whether anybody accepts connections there. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const outcome = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'close').then(() => false),
  ]).catch(() => false);
  socket.destroy();
  return outcome;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5);
}

describe('a target that refuses a connection for a while', () => {
  it('is asked again: its client is served when it is back, by one connection', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000 });
    const clients = await Promise.all(Array.from({ length: 20 }, () => client(wire.port)));
    for (const socket of clients) socket.write(REQUEST);
    await until(() => wire.ledger.read().seen.turns === 20);
    const server = await serverOn(port, REQUEST.length);
    for (const socket of clients) expect((await everything(socket)).toString()).toBe(ANSWER);
    expect(server.told().toString()).toBe(REQUEST.repeat(20));
    expect(server.connections()).toBe(20);
    for (const socket of clients) socket.destroy();
    await until(() => wire.forwarder.connections.open === 0);
    expect(wire.forwarder.connections).toEqual({ open: 0, turnedAway: 0, failed: {} });
  });

  it('gets an upload whole that began before it was there, of which little was held', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000 });
    const upload = Buffer.from(Array.from({ length: 4 * 1024 * 1024 }, (_, at) => at % 251));
    const socket = await client(wire.port);
    socket.write(upload);
    await until(() => wire.ledger.read().seen.bytes > 0);
    await sleep(300);
    expect(wire.ledger.read().seen.bytes).toBeLessThan(512 * 1024);
    const server = await serverOn(port, upload.length);
    expect((await everything(socket)).toString()).toBe(ANSWER);
    expect(server.told().equals(upload)).toBe(true);
  });

  it('gets the end of a client that ended its own side meanwhile', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000 });
    const socket = await client(wire.port);
    socket.end(REQUEST);
    await until(() => wire.ledger.read().seen.turns === 1);
    await serverOn(port, REQUEST.length);
    expect((await everything(socket)).toString()).toBe(ANSWER);
  });

  it('is spoken to by TLS when it is back', async () => {
    const port = await freePort();
    const target = local(port, true);
    const wire = await startWire({ target, connectRetryMs: 60_000, upstreamTls: VERIFIED() });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    await until(() => wire.ledger.read().seen.turns === 1);
    await sleep(100);
    const told: Buffer[] = [];
    const key = { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM };
    const server = createTlsServer(key, (stream) => {
      stream.on('error', () => undefined);
      stream.on('data', (chunk: Buffer) => {
        told.push(chunk);
        stream.end(ANSWER);
      });
    }).listen(port, '127.0.0.1');
    afterwards(() => server.close());
    expect((await everything(socket)).toString()).toBe(ANSWER);
    expect(Buffer.concat(told).toString()).toBe(REQUEST);
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it('is not waited for by a client that left', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000 });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    await until(() => wire.ledger.read().seen.turns === 1);
    await sleep(100);
    socket.resetAndDestroy();
    await until(() => wire.forwarder.connections.open === 0);
    expect(wire.forwarder.connections.failed).toEqual({});
  });

  it.each(['reset', '502'] as const)('is a %s when the time is over', async (refused) => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 150, refused });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    if (refused === 'reset') expect((await failure(socket)).code).toBe('ECONNRESET');
    else expect((await everything(socket)).toString()).toMatch(/^HTTP\/1\.1 502 /);
    socket.destroy();
    await until(() => wire.forwarder.connections.open === 0);
    expect(wire.forwarder.connections.failed).toEqual({ upstream_refused: 1 });
  });

  it('is cut with a client that still waits', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000 });
    const socket = await client(wire.port);
    socket.write(REQUEST);
    await until(() => wire.ledger.read().seen.turns === 1);
    await sleep(100);
    const failed = failure(socket);
    expect(await wire.forwarder.drain(0)).toBe(1);
    expect((await failed).code).toBe('ECONNRESET');
  });
});

describe('a wire that does not listen while its target refuses', () => {
  it('refuses connections from the start, accepts them when the target does, and refuses again', async () => {
    const port = await freePort();
    const wire = await startWire({ target: local(port), connectRetryMs: 0, refuseWhenDown: true });
    await until(async () => !(await accepts(wire.port)));
    expect(wire.forwarder.accepts).toBe(false);
    const server = await serverOn(port, REQUEST.length);
    await until(() => accepts(wire.port));
    expect(wire.forwarder.accepts).toBe(true);
    const socket = await client(wire.port);
    socket.write(REQUEST);
    expect((await everything(socket)).toString()).toBe(ANSWER);
    server.close();
    await until(async () => !(await accepts(wire.port)));
    expect(wire.notices.map(({ level }) => level)).toEqual(['warn', 'info', 'warn']);
    await wire.forwarder.drain(0);
    expect(await accepts(wire.port)).toBe(false);
  });

  it('keeps what is open, and learns of a refusal by the client that met it', async () => {
    const port = await freePort();
    const server = await serverOn(port, REQUEST.length);
    const wire = await startWire({ target: local(port), connectRetryMs: 60_000, refuseWhenDown: true });
    server.close();
    const socket = await client(wire.port);
    socket.write(REQUEST);
    await until(async () => !(await accepts(wire.port)));
    await serverOn(port, REQUEST.length);
    expect((await everything(socket)).toString()).toBe(ANSWER);
    await until(() => accepts(wire.port));
  });
});
