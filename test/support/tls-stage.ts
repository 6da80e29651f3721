import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import {
  CERTIFICATE_KEY_PEM,
  CERTIFICATE_PEM,
  LOCAL_CERTIFICATE_KEY_PEM,
  LOCAL_CERTIFICATE_PEM,
} from './certificate.ts';
import { afterwards } from './leftovers.ts';
import { temporaryDirectory } from './temp-dir.ts';

/** A TLS client that trusts the certificate of this machine. */
export async function tlsClient(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const stream = connectTls({ socket, ca: LOCAL_CERTIFICATE_PEM, servername: 'localhost', ...options });
  stream.on('error', () => undefined);
  socket.on('error', () => undefined);
  afterwards(() => stream.destroy());
  await once(stream, 'secureConnect');
  return stream;
}

/** A TLS server that passes each stream to the test. */
export async function tlsUpstream(
  onStream: (stream: TLSSocket) => void,
  key = LOCAL_CERTIFICATE_KEY_PEM,
  options: TlsOptions = {},
) {
  const cert = key === CERTIFICATE_KEY_PEM ? CERTIFICATE_PEM : LOCAL_CERTIFICATE_PEM;
  const raw = new Set<Socket>();
  const server = createTlsServer(
    { cert, key, allowHalfOpen: true, ALPNProtocols: ['h2', 'http/1.1'], ...options },
    (stream) => {
      stream.on('error', () => undefined);
      onStream(stream);
    },
  ).listen(0, '127.0.0.1');
  server.on('connection', (socket: Socket) => raw.add(socket));
  await once(server, 'listening');
  afterwards(() => {
    for (const socket of raw) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, raw };
}

/** A file with a trusted certificate. */
export function caFile(pem = LOCAL_CERTIFICATE_PEM): string {
  const path = `${temporaryDirectory()}/ca.pem`;
  writeFileSync(path, pem);
  return path;
}

/** How a target on this machine is verified. */
export const VERIFIED = () => ({ caPath: caFile(), serverName: null, verify: true });
