import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { filesBelow, findSecrets, payloadsOf } from '../redaction/leak-search.ts';
import { grpcMessage } from '../support/grpc.ts';
import { answer, GrpcClient, messagesIn, startGrpcServer } from '../support/grpc-server.ts';
import {
  bytesField,
  entry,
  int,
  joined,
  message,
  packed,
  rawBytes,
  text,
} from '../support/protobuf-writer.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const OIP = '/inference.GRPCInferenceService/';
const SERVING = '/tensorflow.serving.PredictionService/';
const SECRETS_EACH = 30;
const SEED = 7_341;

interface Planted {
  readonly path: string;
  readonly sent: readonly Buffer[];
  readonly headers?: Readonly<Record<string, string>>;
  /** The client resets the stream before its request ends. */
  readonly cut?: boolean;
}

const tensor = (...contents: readonly Buffer[]) =>
  message(5, text(1, 'TEXT'), text(2, 'BYTES'), packed(3, [1]), ...contents);
const inferred = (secret: string) =>
  joined(text(1, 'm'), tensor(message(5, bytesField(8, Buffer.from(secret)))));
const raw = (secret: string) => joined(text(1, 'm'), tensor(), bytesField(7, rawBytes('public', secret)));
const features = (secret: string) =>
  message(1, entry(1, 'name', message(1, bytesField(1, Buffer.from(secret)))));
const predicted = (secret: string) =>
  joined(message(1, text(1, 'm')), entry(2, 'x', int(1, 7), bytesField(8, Buffer.from(secret))));

/** Where a secret is. The server answers with what it was sent, so each is in the answer as well. */
const PLACES: Readonly<Record<string, (secret: string) => Planted>> = {
  'contents of a tensor': (secret) => ({ path: `${OIP}ModelInfer`, sent: [grpcMessage(inferred(secret))] }),
  'a raw tensor': (secret) => ({ path: `${OIP}ModelInfer`, sent: [grpcMessage(raw(secret))] }),
  'the second message of a stream': (secret) => ({
    path: `${OIP}ModelStreamInfer`,
    sent: [grpcMessage(inferred('public')), grpcMessage(raw(secret))],
  }),
  'a compressed message': (secret) => ({
    path: `${OIP}ModelInfer`,
    sent: [grpcMessage(gzipSync(raw(secret)), true)],
    headers: { 'grpc-encoding': 'gzip' },
  }),
  'a tensor of TensorFlow Serving': (secret) => ({
    path: `${SERVING}Predict`,
    sent: [grpcMessage(predicted(secret))],
  }),
  'an example of TensorFlow Serving': (secret) => ({
    path: `${SERVING}Classify`,
    sent: [
      grpcMessage(joined(message(1, text(1, 'm')), message(2, message(1, message(1, features(secret)))))),
    ],
  }),
  'an unknown message': (secret) => ({ path: '/shop.Search/Ask', sent: [grpcMessage(text(1, secret))] }),
  'an unknown field': (secret) => ({
    path: `${OIP}ModelInfer`,
    sent: [grpcMessage(joined(text(1, 'm'), text(99, secret)))],
  }),
  'metadata, and trailers of the answer': (secret) => ({
    path: `${OIP}ModelInfer`,
    sent: [grpcMessage(text(1, 'm'))],
    headers: {
      authorization: `Bearer ${secret}`,
      'x-api-key-bin': Buffer.from(secret).toString('base64'),
      'x-say': secret,
    },
  }),
  'a body that is cut': (secret) => ({
    path: `${OIP}ModelInfer`,
    sent: [grpcMessage(joined(inferred(secret), Buffer.alloc(500, 1))).subarray(0, -300)],
    cut: true,
  }),
};

it(`none of ${SECRETS_EACH * Object.keys(PLACES).length} secrets in gRPC calls is in a capture with the presets that cover them`, async () => {
  const echo: typeof answer = (stream, sent) => answer(stream, sent);
  const failing = (stream: Parameters<typeof answer>[0], sent: Buffer) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () =>
      stream.sendTrailers({
        'grpc-status': '3',
        'grpc-message': `cannot parse ${sent
          .subarray(5)
          .toString('latin1')
          .replace(/[^\w -]/g, '')}`,
      }),
    );
    stream.end(sent);
  };
  const paths = [`${OIP}ModelInfer`, `${OIP}ModelStreamInfer`, `${SERVING}Predict`, `${SERVING}Classify`];
  const server = await startGrpcServer({
    ...Object.fromEntries(paths.map((path) => [path, (stream, sent) => echo(stream, sent)] as const)),
    '/shop.Search/Ask': failing,
  });
  const root = temporaryDirectory();
  const directory = `${root}/capture`;
  const presets = ['v1', 'v2'].flatMap((preset) => ['--redact-preset', preset]);
  const flags = ['--bodies', 'all', ...presets, '--redact', 'header:x-say'];
  const recording = await startRecording(server.port, directory, flags);
  const client = new GrpcClient(recording.port);
  const random = new SeededRandom(SEED);
  const secrets: string[] = [];
  for (const make of Object.values(PLACES)) {
    for (let nth = 0; nth < SECRETS_EACH; nth += 1) {
      const secret = `Zq${[0, 1, 2].map(() => random.nextUint32().toString(16).padStart(8, '0')).join('')}`;
      secrets.push(secret);
      const { path, sent, headers = {}, cut = false } = make(secret);
      const called = await client.call(path, sent, { headers, leaveAfterMs: cut ? 20 : null });
      // What passed is untouched.
      if (!cut) expect(called.messages).toEqual(messagesIn(Buffer.concat(sent)));
    }
  }
  await client.close();
  const { status, end } = await recording.stop();
  expect(status).toBe(0);
  expect(findSecrets(secrets, [...filesBelow(root), ...payloadsOf(directory)])).toEqual([]);
  expect(secrets.filter((secret) => JSON.stringify(end).includes(secret))).toEqual([]);
  // The bodies that could be masked are there: nothing was hidden by not being recorded.
  const capture = openCapture(directory);
  const kept = [...capture.rows()].filter(
    (row) => (capture.payload(row)?.request?.body.kept ?? null) !== null,
  );
  const rows = [...capture.rows()].length;
  capture.close();
  expect(rows).toBe(secrets.length);
  expect(kept.length).toBeGreaterThanOrEqual(7 * SECRETS_EACH);
}, 120_000);
