import type { Exchange } from '../core/exchange.ts';
import { buildRequestHead, HTTP2_VERSION } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { ProtobufCursor, WIRE } from '../core/protobuf.ts';
import type { TextCounts } from '../core/text.ts';
import { GRPC_PREFIX_BYTES } from '../inference/grpc.ts';
import { callFacts, firstMessage } from '../inference/protobuf/call-facts.ts';
import { knownCall } from '../inference/protobuf/known-services.ts';
import { InputProblem, inputBytes, NOTHING_IN_IT } from './input.ts';
import type { RequestDraft } from './request-draft.ts';

/** Length and checksum of a record before its data, and the checksum after them. */
const RECORD_HEAD_BYTES = 12;
const CHECKSUM_BYTES = 4;
const HEADERS = [
  ['Host', 'imported.invalid'],
  ['te', 'trailers'],
  ['content-type', 'application/grpc'],
] as const;
/** Kinds of logs by their field in `PredictionLog` (tensorflow/serving, Apache-2.0), with the call that they log. */
const CALLS: Readonly<Record<number, string>> = {
  2: 'PredictionService/Classify',
  3: 'PredictionService/Regress',
  4: 'PredictionService/MultiInference',
  5: 'SessionService/SessionRun',
  6: 'PredictionService/Predict',
};
const METADATA = 1;
const [REQUEST, RESPONSE] = [1, 2];

/** A call of a log. */
export interface LoggedCall {
  readonly draft: RequestDraft;
  /** One message with its prefix; null if the log has no answer. */
  readonly answer: Buffer | null;
}

interface TfRecord {
  /** From 1. */
  readonly number: number;
  readonly bytes: Buffer;
}

/** @throws InputProblem naming the record with a wrong checksum, or that is cut off */
export async function* tfRecords(chunks: AsyncIterable<Buffer>): AsyncGenerator<TfRecord> {
  let rest: Buffer = Buffer.alloc(0);
  let pending: Buffer[] = [];
  let have = 0;
  let need = RECORD_HEAD_BYTES;
  let number = 1;
  for await (const chunk of chunks) {
    pending.push(chunk);
    have += chunk.length;
    if (have < need) continue;
    rest = Buffer.concat(pending);
    for (;;) {
      need = recordBytes(rest, number);
      if (rest.length < need) break;
      yield { number, bytes: checkedData(rest.subarray(0, need), number) };
      rest = rest.subarray(need);
      number += 1;
    }
    pending = [rest];
    have = rest.length;
  }
  if (number === 1 && have === 0) throw new InputProblem('the file is empty', { hint: NOTHING_IN_IT });
  if (have > 0)
    throw new InputProblem(`record ${number} is cut off`, { hint: 'Fetch or copy the file again.' });
}

/** Whether a file starts as a TFRecord does: a length with its checksum. */
export async function startsAsTfRecord(path: string, signal: AbortSignal): Promise<boolean> {
  for await (const chunk of inputBytes(path, signal))
    return chunk.length >= RECORD_HEAD_BYTES && maskedCrc32c(chunk.subarray(0, 8)) === chunk.readUInt32LE(8);
  return false;
}

/** Bytes of the record at the start, or of its head if that is not there yet. */
function recordBytes(bytes: Buffer, number: number): number {
  if (bytes.length < RECORD_HEAD_BYTES) return RECORD_HEAD_BYTES;
  if (maskedCrc32c(bytes.subarray(0, 8)) !== bytes.readUInt32LE(8)) {
    const isFirst = number === 1;
    throw new InputProblem(
      isFirst ? 'the file is no TFRecord' : `record ${number}: the checksum of its length is wrong`,
      {
        hint: isFirst ? 'Give the request log of TensorFlow Serving, a TFRecord of PredictionLog.' : DAMAGED,
      },
    );
  }
  const length = Number(bytes.readBigUInt64LE(0));
  if (length <= LIMITS.importLineBytes) return RECORD_HEAD_BYTES + length + CHECKSUM_BYTES;
  throw new InputProblem(`record ${number} has more than ${LIMITS.importLineBytes} bytes`);
}

const DAMAGED = 'The file is damaged: fetch or copy it again.';

function checkedData(record: Buffer, number: number): Buffer {
  const data = record.subarray(RECORD_HEAD_BYTES, -CHECKSUM_BYTES);
  if (maskedCrc32c(data) === record.readUInt32LE(record.length - CHECKSUM_BYTES)) return data;
  throw new InputProblem(`record ${number}: the checksum of its data is wrong`, { hint: DAMAGED });
}

const CRC32C = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli) as TFRecords store it: rotated, plus a constant. */
function maskedCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = ((CRC32C[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8)) >>> 0;
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** The call of a record; null for one that is no unary call. @throws InputProblem if it is no PredictionLog */
export function loggedCall({ number, bytes }: TfRecord, lacking: TextCounts): LoggedCall | null {
  const log = new ProtobufCursor(bytes);
  let call: LoggedCall | null = null;
  while (log.next()) {
    if (log.number === METADATA) continue;
    const method = CALLS[log.number];
    if (method === undefined || log.wire !== WIRE.bytes) {
      lacking.count('a streamed prediction, or a log of another kind: left out');
      return null;
    }
    const [request, response] = partsIn(bytes, log);
    if (request === null) throw new InputProblem(`record ${number}: the log has no request`);
    const target = `/tensorflow.serving.${method}`;
    const head = buildRequestHead('POST', target, HEADERS, HTTP2_VERSION);
    const draft = { method: 'POST', target, head, body: prefixed(request), trailers: null };
    call = { draft, answer: response === null ? null : prefixed(response) };
  }
  if (log.stoppedAt !== null)
    throw new InputProblem(`record ${number}: byte ${log.stoppedAt} is no PredictionLog`);
  if (call === null) lacking.count('a record without a call: left out');
  return call;
}

function partsIn(
  bytes: Buffer,
  { from, to }: ProtobufCursor,
): [request: Buffer | null, response: Buffer | null] {
  const parts = new ProtobufCursor(bytes, from, to);
  let [request, response]: [Buffer | null, Buffer | null] = [null, null];
  while (parts.next()) {
    if (parts.wire !== WIRE.bytes) continue;
    if (parts.number === REQUEST) request = bytes.subarray(parts.from, parts.to);
    if (parts.number === RESPONSE) response = bytes.subarray(parts.from, parts.to);
  }
  return [request, response];
}

function prefixed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Facts of a logged call that its exchange, or one of its request alone, has. */
export function factsOfCall({
  draft,
}: LoggedCall): Pick<Exchange, 'protocol' | 'model' | 'batch' | 'requestMessages'> {
  const message = firstMessage(knownCall(draft.target)?.request ?? null, Buffer.from(draft.body), null);
  const facts = message === null ? { model: null, batch: null } : callFacts(message);
  return { protocol: 'h2', ...facts, requestMessages: 1 };
}
