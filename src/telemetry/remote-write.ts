import type { Attributes, Instrument } from './instruments.ts';

/** Prometheus labels of attributes whose name differs there. */
const LABELS: Readonly<Record<string, string>> = {
  'gen_ai.operation.name': 'operation',
  'gen_ai.request.model': 'model',
  'gen_ai.token.type': 'type',
  'error.type': 'error',
};

/** One series and its newest value. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** All series of the instruments in Prometheus form: a histogram becomes buckets, a sum and a count. */
export function samplesOf(instruments: readonly Instrument[], common: Attributes): Sample[] {
  return instruments.flatMap(({ prometheus, kind, bounds = [], series }) =>
    [...series.values()].flatMap(({ attributes, value, count, buckets }) => {
      const labels = { ...common, ...labelsOf(attributes) };
      const sample = (suffix: string, each: number, more: Attributes = {}) => ({
        labels: { __name__: `${prometheus}${suffix}`, ...labels, ...more },
        value: each,
      });
      if (kind !== 'histogram') return [sample('', value)];
      let below = 0;
      const cumulative = buckets.map((inBucket, at) => {
        below += inBucket;
        return sample('_bucket', below, { le: String(bounds[at] ?? '+Inf') });
      });
      return [...cumulative, sample('_sum', value), sample('_count', count)];
    }),
  );
}

function labelsOf(attributes: Attributes): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attributes).flatMap(([key, value]) => {
      const label = key.includes('.') ? LABELS[key] : key;
      return label === undefined ? [] : [[label, value]];
    }),
  );
}

/**
 * A WriteRequest of Prometheus remote write 1.0: protobuf in a snappy block.
 * @param atMs epoch milliseconds
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec/
 */
export function writeRequest(samples: readonly Sample[], atMs: number): Buffer {
  const series = samples.map(({ labels, value }) => {
    // Receivers may reject unsorted labels.
    const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const point = Buffer.concat([doubleField(1, value), varint(2 << 3), varint(atMs)]);
    return bytesField(1, [
      ...sorted.map(([name, text]) => bytesField(1, [textField(1, name), textField(2, text)])),
      bytesField(2, [point]),
    ]);
  });
  return snappyBlock(Buffer.concat(series));
}

const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;

/** @param value a whole number from 0 to 2^53 */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

function bytesField(number: number, parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([varint((number << 3) | LENGTH_DELIMITED), varint(length), ...parts]);
}

function textField(number: number, text: string): Buffer {
  return bytesField(number, [Buffer.from(text)]);
}

function doubleField(number: number, value: number): Buffer {
  const field = Buffer.alloc(9);
  field.writeUInt8((number << 3) | FIXED_64);
  field.writeDoubleLE(value, 1);
  return field;
}

const LITERAL_BYTES = 1 << 16;
/** Tag of a literal. The next two bytes are its length minus one. */
const LITERAL_TAG = 61 << 2;

/**
 * A snappy block of literals only: valid for every reader, but not compressed. A push has about ten kilobytes, so
 * compression is not worth its code.
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */
function snappyBlock(data: Buffer): Buffer {
  const parts = [varint(data.length)];
  for (let at = 0; at < data.length; at += LITERAL_BYTES) {
    const literal = data.subarray(at, at + LITERAL_BYTES);
    const head = Buffer.from([LITERAL_TAG, 0, 0]);
    head.writeUInt16LE(literal.length - 1, 1);
    parts.push(head, literal);
  }
  return Buffer.concat(parts);
}
