import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';
import { WIRE } from '../../core/limits.ts';
import type { ConnectionFailure } from '../data-plane.ts';
import { type ProxyHeader, readProxyHeader } from '../proxy-protocol.ts';
import { PassingSide } from './passing-side.ts';

/** A client whose traffic can begin. */
export interface Admitted {
  readonly side: PassingSide;
  /** What its PROXY protocol header said; null where none was asked for. */
  readonly header: ProxyHeader | null;
  /** What was agreed on under TLS; null without. */
  readonly protocol: string | null;
}

export interface AdmissionOptions {
  readonly acceptProxyProtocol: boolean;
  /** Null for plain traffic. */
  readonly secureContext: SecureContext | null;
}

/**
 * What a client goes through before its traffic begins, where that was asked for: its PROXY protocol header, then
 * its TLS handshake. Ends with the client, or with the reason it was sent away; one that left by itself before it
 * had said anything has none.
 */
export async function admit(
  socket: Socket,
  options: AdmissionOptions,
): Promise<Admitted | ConnectionFailure | null> {
  // Until somebody else listens: an error is followed by the close that the steps below wait for.
  socket.on('error', () => undefined);
  let header: ProxyHeader | null = null;
  if (options.acceptProxyProtocol) {
    const read = await readHeader(socket);
    if (read === null || typeof read === 'string') return sentAway(socket, read);
    header = read;
  }
  const stream = options.secureContext ? await handshake(socket, options.secureContext) : socket;
  if (stream === null || typeof stream === 'string') return sentAway(socket, stream);
  const agreed = stream instanceof TLSSocket ? stream.alpnProtocol : null;
  if (stream.destroyed) return null;
  return {
    side: new PassingSide(stream, socket, socket.remoteAddress !== undefined, null),
    header,
    protocol: agreed || null,
  };
}

function sentAway(socket: Socket, failure: ConnectionFailure | null): ConnectionFailure | null {
  socket.destroy();
  return failure;
}

function readHeader(socket: Socket): Promise<ProxyHeader | 'proxy_header' | null> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const settle = (outcome: ProxyHeader | 'proxy_header' | null) => {
      clearTimeout(timer);
      socket.off('data', take).off('end', gone).off('close', gone).pause();
      resolve(outcome);
    };
    const gone = () => settle(bytes.length === 0 ? null : 'proxy_header');
    const take = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const reading = readProxyHeader(bytes);
      if (reading.kind === 'more') return;
      if (reading.kind === 'malformed') settle('proxy_header');
      else {
        settle(reading.header);
        if (reading.bytes < bytes.length) socket.unshift(bytes.subarray(reading.bytes));
      }
    };
    const timer = setTimeout(() => settle('proxy_header'), WIRE.proxyHeaderMs);
    socket.on('data', take).once('end', gone).once('close', gone);
  });
}

/**
 * HTTP/1.1 is agreed on where the client knows it, because that can be recorded. One that knows only something
 * else, as gRPC does, gets that: the upstream is likely to speak what its clients do.
 */
function chooseProtocol({ protocols }: { protocols: string[] }): string | undefined {
  return protocols.includes('http/1.1') ? 'http/1.1' : protocols[0];
}

function handshake(
  socket: Socket,
  secureContext: SecureContext,
): Promise<TLSSocket | 'tls_handshake' | null> {
  return new Promise((resolve) => {
    const stream = new TLSSocket(socket, { isServer: true, secureContext, ALPNCallback: chooseProtocol });
    const settle = (outcome: TLSSocket | 'tls_handshake' | null) => {
      clearTimeout(timer);
      stream.off('end', gone).off('close', gone);
      resolve(outcome);
    };
    const gone = () => settle(socket.bytesRead === 0 ? null : 'tls_handshake');
    const timer = setTimeout(() => settle('tls_handshake'), WIRE.handshakeMs);
    stream.on('error', () => undefined);
    stream
      .once('end', gone)
      .once('close', gone)
      .once('secure', () => settle(stream));
  });
}
