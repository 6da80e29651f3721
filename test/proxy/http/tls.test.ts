import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_NAME, CERTIFICATE_PEM } from '../../support/certificate.ts';
import { afterwards } from '../../support/leftovers.ts';
import { mountedSecret } from '../../support/mounted-secret.ts';
import { RawServer } from '../../support/raw-server.ts';
import { shorten } from '../shorten.ts';
import { startGateway, tcp, until } from './support.ts';

/** A client that takes any certificate, and names a host or none. */
async function tlsClient(port: number, servername?: string): Promise<TLSSocket> {
  const name = servername === undefined ? {} : { servername };
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...name });
  afterwards(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

async function fingerprint(port: number, servername?: string): Promise<string> {
  const client = await tlsClient(port, servername);
  const { fingerprint256 } = client.getPeerCertificate();
  client.destroy();
  return fingerprint256;
}

describe('a replaced certificate', () => {
  it('is given to clients that name no host as to those that do, and leaves connections that stand', async () => {
    shorten('certificateCheckMs', 20);
    const upstream = await RawServer.start();
    afterwards(() => upstream.close());
    const files = mountedSecret();
    const gateway = await startGateway(0, {
      pairs: [{ listen: { ...tcp(0), tls: true }, target: tcp(upstream.port) }],
      tls: files,
    });
    const standing = await tlsClient(gateway.port);
    const old = await fingerprint(gateway.port);
    expect(await fingerprint(gateway.port, 'localhost')).toBe(old);
    files.replace(CERTIFICATE_PEM, CERTIFICATE_KEY_PEM);
    let named = old;
    let unnamed = old;
    const endMs = performance.now() + 10_000;
    while ((named === old || unnamed === old) && performance.now() < endMs) {
      named = await fingerprint(gateway.port, CERTIFICATE_NAME);
      unnamed = await fingerprint(gateway.port);
    }
    expect(named).not.toBe(old);
    expect(unnamed).toBe(named);
    standing.write('GET / HTTP/1.1\r\nHost: m\r\n\r\n');
    expect(String((await once(standing, 'data'))[0])).toMatch(/ok$/);
  });

  it('that is half a replacement changes nothing', async () => {
    shorten('certificateCheckMs', 20);
    const files = mountedSecret();
    const notices: string[] = [];
    const gateway = await startGateway(
      0,
      { pairs: [{ listen: { ...tcp(0), tls: true }, target: tcp(1) }], tls: files },
      ({ message }) => notices.push(message),
    );
    const old = await fingerprint(gateway.port);
    files.replace(CERTIFICATE_PEM, 'half a key');
    await until(() => notices.length > 0);
    expect(notices[0]).toMatch(/the old ones stay in use$/);
    expect(await fingerprint(gateway.port)).toBe(old);
    expect(await fingerprint(gateway.port, CERTIFICATE_NAME)).toBe(old);
  });
});
