import { PbfWriter } from 'pbf';
import {
  type Attributes,
  EXPONENTIAL_SCALE,
  type Exemplar,
  exponentialBuckets,
  type Instrument,
  type Series,
} from './instruments.ts';

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
  /** A native histogram is its series. */
  readonly value: number | Series;
  /** The last traced request that is counted in it. */
  readonly exemplar: Exemplar | null;
}

/**
 * All series of the instruments in Prometheus form: a histogram becomes buckets, a sum and a count.
 * @param native whether it is a native histogram too, which has narrower buckets
 */
export function samplesOf(instruments: readonly Instrument[], common: Attributes, native: boolean): Sample[] {
  return instruments.flatMap(({ prometheus, kind, bounds = [], series: all }) =>
    [...all.values()].flatMap((series) => {
      const labels = { ...common, ...labelsOf(series.attributes) };
      const sample = (suffix: string, value: Sample['value'], le: Attributes = {}, exemplar?: Exemplar) => ({
        labels: { __name__: `${prometheus}${suffix}`, ...labels, ...le },
        value,
        exemplar: exemplar ?? null,
      });
      if (kind !== 'histogram') return [sample('', series.value)];
      let below = 0;
      const cumulative = series.buckets.map((inBucket, at) => {
        below += inBucket;
        return sample('_bucket', below, { le: String(bounds[at] ?? '+Inf') }, series.exemplars.get(at));
      });
      const totals = [sample('_sum', series.value), sample('_count', series.count)];
      return [...cumulative, ...totals, ...(native ? [sample('', series)] : [])];
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

const METRIC_TYPES = { counter: 1, gauge: 2, histogram: 3 } as const;

/**
 * A WriteRequest of Prometheus remote write 1.0: protobuf in a snappy block. Fields are numbered as in `prompb`.
 * @param instruments for metadata
 * @param atMs epoch milliseconds
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec/
 */
export function writeRequest(
  samples: readonly Sample[],
  instruments: readonly Instrument[],
  atMs: number,
): Buffer {
  const pbf = new PbfWriter();
  for (const sample of samples) message(pbf, 1, () => writeSeries(sample, atMs, pbf));
  for (const instrument of instruments) message(pbf, 3, () => writeMetadata(instrument, pbf));
  return snappyBlock(pbf.finish());
}

function message(pbf: PbfWriter, field: number, write: () => void): void {
  pbf.writeMessage(field, write, null);
}

function writeSeries({ labels, value, exemplar }: Sample, atMs: number, pbf: PbfWriter): void {
  writeLabels(labels, pbf);
  if (typeof value === 'number') {
    message(pbf, 2, () => {
      pbf.writeDoubleField(1, value);
      pbf.writeVarintField(2, atMs);
    });
  }
  if (exemplar !== null) {
    message(pbf, 3, () => {
      writeLabels({ trace_id: exemplar.trace.traceId, span_id: exemplar.trace.spanId }, pbf);
      pbf.writeDoubleField(2, exemplar.value);
      pbf.writeVarintField(3, Math.floor(exemplar.atUs / 1e3));
    });
  }
  if (typeof value !== 'number') message(pbf, 4, () => writeNative(value, atMs, pbf));
}

/** Receivers may reject unsorted labels. */
function writeLabels(labels: Readonly<Record<string, string>>, pbf: PbfWriter): void {
  for (const [name, text] of Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))) {
    message(pbf, 1, () => {
      pbf.writeStringField(1, name);
      pbf.writeStringField(2, text);
    });
  }
}

function writeNative(series: Series, atMs: number, pbf: PbfWriter): void {
  const { first, counts } = exponentialBuckets(series);
  pbf.writeVarintField(1, series.count);
  pbf.writeDoubleField(3, series.value);
  pbf.writeSVarintField(4, EXPONENTIAL_SCALE);
  pbf.writeVarintField(6, series.zeros);
  if (counts.length > 0) {
    message(pbf, 11, () => {
      // Prometheus counts buckets by their upper bound, OpenTelemetry by their lower one.
      pbf.writeSVarintField(1, first + 1);
      pbf.writeVarintField(2, counts.length);
    });
    pbf.writePackedSVarint(
      12,
      counts.map((count, at) => count - (counts[at - 1] ?? 0)),
    );
  }
  pbf.writeVarintField(15, atMs);
}

function writeMetadata({ kind, prometheus, description }: Instrument, pbf: PbfWriter): void {
  pbf.writeVarintField(1, METRIC_TYPES[kind]);
  pbf.writeStringField(2, prometheus);
  pbf.writeStringField(4, description);
}

const LITERAL_BYTES = 1 << 16;
/** Tag of a literal. The next two bytes are its length minus one. */
const LITERAL_TAG = 61 << 2;

/**
 * A snappy block of literals only: valid for every reader, but not compressed. A push has about ten kilobytes, so
 * compression is not worth its code.
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */
function snappyBlock(data: Uint8Array): Buffer {
  const length = new PbfWriter();
  length.writeVarint(data.length);
  const parts: Uint8Array[] = [length.finish()];
  for (let at = 0; at < data.length; at += LITERAL_BYTES) {
    const literal = data.subarray(at, at + LITERAL_BYTES);
    const head = Buffer.from([LITERAL_TAG, 0, 0]);
    head.writeUInt16LE(literal.length - 1, 1);
    parts.push(head, literal);
  }
  return Buffer.concat(parts);
}
