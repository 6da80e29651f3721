import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputProblem } from '../../src/formats/input.ts';
import { tfRecords } from '../../src/formats/prediction-log.ts';
import { CaptureReader } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { grpcMessage } from '../support/grpc.ts';
import { bytesField, entry, int, joined, message, text } from '../support/protobuf-writer.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Bit by bit, so that it shares no table with the reader. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1));
  }
  return ~crc >>> 0;
}

function masked(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const stored = Buffer.alloc(4);
  stored.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return stored;
}

function record(data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, masked(length), data, masked(data)]);
}

const tensor = (rows: number) =>
  joined(int(1, 1), message(2, message(2, int(1, rows))), bytesField(4, Buffer.alloc(4 * rows)));
const predict = (model: string, rows: number) =>
  joined(message(1, text(1, model)), entry(2, 'x', tensor(rows)));
const answered = (rows: number) => joined(entry(1, 'y', tensor(rows)));
const logged = (model: string, rows: number) =>
  record(
    joined(
      message(1, text(3, 'serve')),
      message(6, message(1, predict(model, rows)), message(2, answered(rows))),
    ),
  );

function fileOf(...parts: readonly Uint8Array[]): string {
  const path = join(temporaryDirectory(), 'requests.log');
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

async function imported(...args: readonly string[]) {
  const out = join(temporaryDirectory(), 'capture');
  const run = await runCommand(['import', ...args, '--out', out]);
  if (run.status !== 0) return { run, rows: [], payloads: [] };
  const reader = new CaptureReader(out);
  try {
    const rows = [...reader.rows()];
    return { run, rows, payloads: rows.map((row) => reader.payload(row)) };
  } finally {
    reader.close();
  }
}

test('the checksum is CRC-32C', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

describe('a request log of TensorFlow Serving', () => {
  const log = [logged('ranker', 3), logged('embed', 1), record(joined(message(7, text(1, 'stream'))))];

  test.each([
    ['as it is', (bytes: Buffer) => bytes],
    ['packed', (bytes: Buffer) => gzipSync(bytes)],
  ])('is a capture of gRPC calls at equal gaps (%s)', async (_name, packed) => {
    const file = fileOf(packed(Buffer.concat(log)));
    const args = ['--gap', '20ms', '--bodies', 'all', '--origin', '2026-11-24T12:00:00Z'];
    const { rows, payloads, run } = await imported('tfserving', file, ...args);
    const call = { protocol: 'h2', status: 200, grpcStatus: 0, requestMessages: 1, responseMessages: 1 };
    const route = 'POST /tensorflow.serving.PredictionService/Predict';
    expect(rows).toMatchObject([
      { ...call, route, model: 'ranker', batch: 3, outcome: 'completed' },
      { ...call, route, model: 'embed', batch: 1 },
    ]);
    expect(rows.map(({ arrivalUs }) => arrivalUs - (rows[0]?.arrivalUs ?? 0))).toEqual([0, 20_000]);
    expect(Buffer.from(payloads[0]?.request?.body.kept ?? [])).toEqual(grpcMessage(predict('ranker', 3)));
    expect(Buffer.from(payloads[0]?.response?.body.kept ?? [])).toEqual(grpcMessage(answered(3)));
    expect(run.stdout).toContain('streamed prediction');
  });

  test('pairs with the arrivals of another file', async () => {
    const trace = join(temporaryDirectory(), 'trace.csv');
    writeFileSync(trace, 'time\n0\n1.5\n7\n');
    const { rows, payloads } = await imported(
      'arrivals',
      trace,
      ...['--time', 'time', '--unit', 's', '--payloads', fileOf(...log)],
    );
    expect(rows.map(({ arrivalUs }) => arrivalUs)).toEqual([0, 1_500_000, 7_000_000]);
    expect(new Set(rows.map(({ protocol }) => protocol))).toEqual(new Set(['h2']));
    for (const [at, { model }] of rows.entries())
      expect(Buffer.from(payloads[at]?.request?.body.kept ?? []).includes(model ?? '?')).toBe(true);
  });

  test.each([
    ['no TFRecord', [Buffer.from('{"instances": [1]}\n')], 'no TFRecord'],
    ['nothing', [], 'empty'],
    ['a cut record', [log[0] as Buffer, (log[1] as Buffer).subarray(0, -3)], 'record 2'],
    [
      'wrong data',
      [log[0] as Buffer, Buffer.concat([(log[1] as Buffer).subarray(0, -1), Buffer.from('x')])],
      'record 2',
    ],
    ['data that are no log', [record(Buffer.from([0xff]))], 'record 1'],
    ['no call', [record(message(1, text(3, 'serve')))], 'no exchange'],
  ])('with %s is refused by name, and leaves nothing', async (_name, parts, named) => {
    const file = fileOf(...parts);
    const { run } = await imported('tfserving', file, '--gap', '1s');
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain(file);
    expect(run.stderr).toContain(named);
  });

  test('needs a gap', async () => {
    const { run } = await imported('tfserving', fileOf(...log));
    expect(run.stderr).toContain('--gap');
  });
});

test('records are the same however their bytes come, and a wrong bit is always found', async () => {
  const read = async (bytes: Buffer, piece: number) => {
    const chunks = async function* () {
      for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
    };
    const found: string[] = [];
    for await (const { bytes: data } of tfRecords(chunks())) found.push(Buffer.from(data).toString('hex'));
    return found;
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 70 }),
      fc.nat(),
      async (records, piece, flipped) => {
        const bytes = Buffer.concat(records.map(record));
        expect(await read(bytes, piece)).toEqual(records.map((each) => Buffer.from(each).toString('hex')));
        const at = flipped % (bytes.length * 8);
        bytes[at >> 3] = (bytes[at >> 3] as number) ^ (1 << (at & 7));
        await expect(read(bytes, piece)).rejects.toThrow(InputProblem);
      },
    ),
    { numRuns: 150 },
  );
});
