import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { search, searchedDocument } from '../integration/capacity-search.ts';
import { captureOf } from '../support/captures.ts';
import {
  CERTIFICATE_KEY_PEM,
  CERTIFICATE_PEM,
  LOCAL_CERTIFICATE_KEY_PEM,
  LOCAL_CERTIFICATE_PEM,
} from '../support/certificate.ts';
import { callsOf } from '../support/grpc-calls.ts';
import { afterwards } from '../support/leftovers.ts';
import { documentOf, replayHere, requestsOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const FILES = {
  'ca.pem': LOCAL_CERTIFICATE_PEM,
  'client.pem': CERTIFICATE_PEM,
  'client.key': CERTIFICATE_KEY_PEM,
  'other.key': LOCAL_CERTIFICATE_KEY_PEM,
};

/** A server of gRPC and HTTP/1.1 that demands client certificates. */
async function demandingServer() {
  const served = { http1: 0, http2: 0 };
  const server = createSecureServer({
    cert: LOCAL_CERTIFICATE_PEM,
    key: LOCAL_CERTIFICATE_KEY_PEM,
    requestCert: true,
    ca: CERTIFICATE_PEM,
    allowHTTP1: true,
  });
  server.on('tlsClientError', () => undefined);
  server.on('request', (request, response) => {
    const isHttp2 = request.httpVersionMajor === 2;
    served[isHttp2 ? 'http2' : 'http1'] += 1;
    request.resume().on('end', () => {
      if (!isHttp2) return void response.end('one');
      response.writeHead(200, { 'content-type': 'application/grpc' });
      response.addTrailers({ 'grpc-status': '0' });
      response.end(Buffer.from([0, 0, 0, 0, 0]));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  afterwards(() => server.close());
  const directory = temporaryDirectory();
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(directory, name), text);
  const files = (parts: string) => parts.replace(/=(?=\w)/g, `=${directory}/`);
  return { target: `https://localhost:${(server.address() as AddressInfo).port}`, served, files };
}

const CERTIFICATE = 'ca=ca.pem,cert=client.pem,key=client.key';

test('a replay shows its client certificate to gRPC and HTTP/1.1, and stores nothing of it', async () => {
  const { target, served, files } = await demandingServer();
  const capture = captureOf([...callsOf(3), ...requestsOf(2)]);
  const run = await replayHere(capture, target, ['--json', '--target-tls', files(CERTIFICATE)]);
  expect(documentOf(run)).toMatchObject({ sent: 5, completed: 5, failed: 0 });
  expect(served).toEqual({ http1: 2, http2: 3 });
  expect(run.stdout).not.toMatch(/client\.(pem|key)|BEGIN/);
});

test.each([
  ['HTTP/1.1', () => requestsOf(3)],
  ['gRPC', () => callsOf(3)],
])(
  'without one, a replay by %s ends before it sends anything, and names the way out',
  async (_, exchanges) => {
    const { target, served, files } = await demandingServer();
    const run = await replayHere(captureOf(exchanges()), target, ['--target-tls', files('ca=ca.pem')]);
    expect(run.status).toBe(5);
    expect(run.stderr).toContain('--target-tls cert=FILE,key=FILE');
    expect(served).toEqual({ http1: 0, http2: 0 });
  },
);

test.each([
  ['ca=ca.pem,cert=client.pem', 'cert is given without key'],
  ['key=client.key', 'key is given without cert'],
  ['cert=client.pem,key=other.key', 'does not belong to the certificate'],
  ['cert=client.key,key=client.key', 'holds no certificate'],
  ['cert=client.pem,key=ca.pem', 'holds no private key'],
  ['cert=client.pem,key=none.key', 'cannot be read'],
])('--target-tls %s is refused', async (parts, reason) => {
  const { target, files } = await demandingServer();
  const run = await replayHere(captureOf(requestsOf(1)), target, ['--target-tls', files(parts)]);
  expect([run.status, run.stderr.includes(reason)]).toEqual([2, true]);
});

test('a search for the breaking point shows it at every step', async () => {
  const { target, served, files } = await demandingServer();
  const capture = captureOf(requestsOf(400, 5_000));
  const searched = await search(capture, target, ['--json', '--target-tls', files(CERTIFICATE)]);
  expect(searchedDocument(searched).steps.length).toBeGreaterThan(0);
  expect(served.http1).toBeGreaterThan(300);
});
