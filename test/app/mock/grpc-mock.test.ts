import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type ClientHttp2Session, connect, constants, type SecureClientSessionOptions } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MOCK_OPTIONS, resolveMockOptions, startMock } from '../../../src/app/mock/mock.ts';
import type { Exchange, Message } from '../../../src/core/exchange.ts';
import { byProgram, type StatedOptions } from '../../../src/core/options.ts';
import { captureOf } from '../../support/captures.ts';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_NAME, CERTIFICATE_PEM } from '../../support/certificate.ts';
import { exchangeOf, requestMessage, responseMessage, wholeBody } from '../../support/exchanges.ts';
import { ANSWER_HEAD, grpcMessage } from '../../support/grpc.ts';
import { CALL_PATH, callsOf, STREAM_PATH } from '../../support/grpc-calls.ts';
import { afterwards } from '../../support/leftovers.ts';
import { text } from '../../support/protobuf-writer.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

async function mock(exchanges: readonly Exchange[], stated: StatedOptions<typeof MOCK_OPTIONS> = {}) {
  const asked = byProgram(MOCK_OPTIONS, { listen: '127.0.0.1:0', speed: 'inf', ...stated });
  const running = await startMock(captureOf(exchanges), resolveMockOptions(asked), SILENT);
  afterwards(() => running.stop());
  return running;
}

function sessionTo(url: string, options: SecureClientSessionOptions = {}): ClientHttp2Session {
  const session = connect(url, options);
  session.on('error', () => undefined);
  afterwards(() => session.destroy());
  return session;
}

async function call(session: ClientHttp2Session, path: string, body: Uint8Array) {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const answer = {
    status: 0,
    how: '',
    trailers: {} as Record<string, unknown>,
    body: '',
    pieces: 0,
    rst: 0,
    endsWithHead: false,
    head: {} as Record<string, unknown>,
  };
  stream.on('error', () => undefined);
  stream.on('response', (headers, flags) => {
    answer.endsWithHead = (flags & constants.NGHTTP2_FLAG_END_STREAM) > 0;
    answer.head = headers;
    answer.status = Number(headers[':status']);
    answer.how = String(headers['x-reprise-mock']);
  });
  stream.on('trailers', (trailers) => {
    answer.trailers = trailers;
  });
  stream.on('data', (bytes: Buffer) => {
    answer.pieces += 1;
    answer.body += bytes.toString('latin1');
  });
  stream.end(body);
  await new Promise((resolve) => stream.on('close', resolve));
  return { ...answer, rst: stream.rstCode };
}

function answered(body: Uint8Array, trailers: string, head = ANSWER_HEAD): Message {
  return { head: Buffer.from(head), redacted: [], body: wholeBody(body), trailers: Buffer.from(trailers) };
}

const ok = (content: string) => answered(grpcMessage(content), 'grpc-status: 0\r\nx-odd: 1\r\nx-odd: 2\r\n');

test('a mock answers gRPC calls beside requests of HTTP/1.1, with their trailers', async () => {
  const [one] = callsOf(
    1,
    { response: ok('one'), responseChunks: [3_000, 8] },
    CALL_PATH,
    [],
    grpcMessage('a'),
  );
  const refused = answered(
    Buffer.alloc(0),
    '',
    'HTTP/2 200\r\ncontent-type: application/grpc\r\ngrpc-status: 8\r\n\r\n',
  );
  const [two] = callsOf(
    1,
    { response: refused, status: 429, grpcStatus: 8, responseChunks: [] },
    '/m.S/Refuse',
    [],
    grpcMessage('b'),
  );
  const plain = exchangeOf({
    request: requestMessage({ body: 'x' }),
    response: responseMessage(200, 'plain'),
  });
  const { address, stop } = await mock([one, two, plain].filter((each) => each !== undefined));
  const session = sessionTo(`http://${address}`);
  expect(await call(session, CALL_PATH, grpcMessage('a'))).toMatchObject({
    status: 200,
    how: 'exact',
    body: grpcMessage('one').toString('latin1'),
    trailers: { 'grpc-status': '0', 'x-odd': '1, 2' },
    rst: 0,
  });
  expect(await call(session, '/m.S/Refuse', grpcMessage('b'))).toMatchObject({
    status: 200,
    head: { 'grpc-status': '8' },
    // Libraries refuse DATA frames after such a head, even empty ones.
    endsWithHead: true,
    body: '',
  });
  const other = await fetch(`http://${address}/v2/models/resnet/infer`, { method: 'POST', body: 'x' });
  expect(await other.text()).toBe('plain');
  session.close();
  expect(await stop()).toMatchObject({ requests: 3, exact: 3, estimatedCuts: 0 });
});

test('a stream comes message by message, a failed one breaks off, and a similar call gets its model’s answer', async () => {
  const three = Buffer.concat(['1', '2', '3'].map((each) => grpcMessage(each)));
  const times = {
    responseMessages: 3,
    responseChunks: [10_000, 6, 20_000, 6, 30_000, 6],
    lastByteOffsetUs: 30_000,
  };
  const [stream] = callsOf(
    1,
    { response: answered(three, 'grpc-status: 0\r\n'), streamed: true, ...times },
    STREAM_PATH,
    [],
    grpcMessage('s'),
  );
  const broken = { outcome: 'upstream_failed', grpcStatus: null, status: 200 } as const;
  const [failing] = callsOf(
    1,
    { response: { ...ok('half'), trailers: null }, ...broken },
    '/m.S/Fail',
    [],
    grpcMessage('f'),
  );
  const models = ['a', 'b'].flatMap((model) => {
    const body = grpcMessage(text(1, model));
    return callsOf(1, { response: ok(model), model }, CALL_PATH, [], body);
  });
  const { address } = await mock(
    [stream, failing, ...models].filter((each) => each !== undefined),
    { speed: '1' },
  );
  const session = sessionTo(`http://${address}`);
  expect(await call(session, STREAM_PATH, grpcMessage('s'))).toMatchObject({
    pieces: 3,
    body: three.toString('latin1'),
  });
  expect(await call(session, '/m.S/Fail', grpcMessage('f'))).toMatchObject({ trailers: {}, rst: 2 });
  const similar = Buffer.concat([text(1, 'b'), text(3, 'another id')]);
  expect(await call(session, CALL_PATH, grpcMessage(similar))).toMatchObject({
    how: 'nearest',
    body: grpcMessage('b').toString('latin1'),
  });
});

test('over TLS it agrees on h2 with who offers only that, and HTTP/1.1 else', async () => {
  const directory = temporaryDirectory();
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  writeFileSync(cert, CERTIFICATE_PEM);
  writeFileSync(key, CERTIFICATE_KEY_PEM);
  const calls = callsOf(1, { response: ok('one') }, CALL_PATH, [], grpcMessage('a'));
  const { address } = await mock(calls, { listenTls: `cert=${cert},key=${key}` });
  const url = `https://${address.replace(/^https:\/\//, '')}`;
  const session = sessionTo(url, {
    ca: CERTIFICATE_PEM,
    servername: CERTIFICATE_NAME,
    ALPNProtocols: ['h2'],
  });
  expect(await call(session, CALL_PATH, grpcMessage('a'))).toMatchObject({
    how: 'exact',
    trailers: { 'grpc-status': '0' },
  });
});

test('it stops although clients keep their connections, and one that sends nothing', async () => {
  const running = await mock(callsOf(1));
  const session = sessionTo(`http://${running.address}`);
  await once(session, 'connect');
  const closed = once(session, 'close');
  await running.stop();
  await closed;
});

test.each([
  ['HTTP/1.1', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n', '485454502f'],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', '0000'],
])('a client of %s is understood although its bytes come one by one', async (_name, sent, expected) => {
  const { address } = await mock(callsOf(1), { unknown: '404' });
  const socket = connectTcp(Number(address.split(':')[1]), '127.0.0.1');
  afterwards(() => socket.destroy());
  const answered = once(socket, 'data');
  socket.setNoDelay(true);
  for (const byte of sent) {
    socket.write(byte, 'latin1');
    await new Promise((resolve) => setImmediate(resolve));
  }
  // `HTTP/`, or the length of a frame of settings.
  const [first] = (await answered) as [Buffer];
  expect(first.toString('hex').slice(0, expected.length)).toBe(expected);
});
