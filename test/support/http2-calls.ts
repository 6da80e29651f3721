import { once } from 'node:events';
import { type ClientHttp2Session, connect, createSecureServer, createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { afterwards } from './leftovers.ts';

/** MB of a session. Beyond its default of 10, Node ends streams with ENHANCE_YOUR_CALM when a busy machine lets calls wait. */
export const SESSION_MEMORY = { maxSessionMemory: 1_000 };

/** A server in the form of gRPC that answers each request with its own body. @returns its port */
export async function echoServer(tls?: TlsOptions): Promise<number> {
  const server =
    tls === undefined ? createServer(SESSION_MEMORY) : createSecureServer({ ...tls, ...SESSION_MEMORY });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
    stream.on('end', () => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.concat(chunks));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  afterwards(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** @param ca of a server with TLS, which has the name of this machine */
export async function http2Session(
  port: number,
  ca?: string,
  certificate: Pick<TlsOptions, 'cert' | 'key'> = {},
): Promise<ClientHttp2Session> {
  const session =
    ca === undefined
      ? connect(`http://127.0.0.1:${port}`)
      : connect(`https://localhost:${port}`, { ca, ...certificate });
  session.on('error', () => undefined);
  await once(session, 'connect');
  afterwards(() => session.destroy());
  return session;
}

/** One call. @returns the body of its answer; null if it ended without `grpc-status: 0` */
export function callOnce(
  session: ClientHttp2Session,
  body: Buffer,
  path = '/m.S/Call',
): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
    const stream = session.request(headers);
    const chunks: Buffer[] = [];
    let status: unknown = null;
    stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(status === '0' ? Buffer.concat(chunks) : null));
    stream.end(body);
  });
}
