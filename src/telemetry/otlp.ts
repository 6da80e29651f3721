import { hasFailed, type Send } from '../core/run.ts';
import type { TestedDocument } from '../documents/parts.ts';
import {
  EXPONENTIAL_SCALE,
  type Exemplar,
  errorOf,
  exponentialBuckets,
  type Instrument,
  operationOf,
  type Series,
} from './instruments.ts';
import type { OtlpHistograms } from './options.ts';
import type { TraceContext } from './traces.ts';

type Value = string | number | boolean | readonly string[];
type Facts = Readonly<Record<string, Value | null>>;

const CLIENT = 3;
const ERROR = 2;
const CUMULATIVE = 2;
const SCOPE = { name: 'reprise' };

/** Facts about a run that go with all its metrics and spans. */
export interface ExportedRun {
  readonly id: string;
  /** Of Reprise. */
  readonly version: string;
  /** The value of `--name`; null without. */
  readonly name: string | null;
  readonly tested: TestedDocument;
  readonly server: { readonly address: string; readonly port: number };
  /** Wall clock, epoch microseconds. */
  readonly startUs: number;
}

/**
 * Metrics in the JSON format of OTLP/HTTP (ExportMetricsServiceRequest).
 * @param nowUs epoch microseconds
 * @see https://opentelemetry.io/docs/specs/otlp/
 */
export function otlpMetrics(
  run: ExportedRun,
  instruments: readonly Instrument[],
  nowUs: number,
  histograms: OtlpHistograms,
): object {
  const point = ({ attributes }: Series) => ({
    attributes: attributesOf({ ...attributes, ...serverFacts(run) }),
    startTimeUnixNano: nanoseconds(run.startUs),
    timeUnixNano: nanoseconds(nowUs),
  });
  const metrics = instruments
    .filter(({ series }) => series.size > 0)
    .map(({ otlp, unit, description, kind, bounds = [], series: byKey }) => {
      const all = [...byKey.values()];
      const facts = { name: otlp, unit, description };
      if (kind === 'gauge')
        return {
          ...facts,
          gauge: { dataPoints: all.map((each) => ({ ...point(each), asDouble: double(each.value) })) },
        };
      if (kind === 'counter') {
        const dataPoints = all.map((each) => ({ ...point(each), asInt: String(each.value) }));
        return { ...facts, sum: { dataPoints, aggregationTemporality: CUMULATIVE, isMonotonic: true } };
      }
      const counted = (each: Series) => ({
        ...point(each),
        count: String(each.count),
        sum: each.value,
        exemplars: [...each.exemplars.values()].map(exemplarOf),
      });
      if (histograms === 'exponential')
        return {
          ...facts,
          exponentialHistogram: {
            dataPoints: all.map((each) => ({ ...counted(each), ...exponentialOf(each) })),
            aggregationTemporality: CUMULATIVE,
          },
        };
      const dataPoints = all.map((each) => ({
        ...counted(each),
        bucketCounts: each.buckets.map(String),
        explicitBounds: bounds,
      }));
      return { ...facts, histogram: { dataPoints, aggregationTemporality: CUMULATIVE } };
    });
  return { resourceMetrics: [{ resource: resourceOf(run), scopeMetrics: [{ scope: SCOPE, metrics }] }] };
}

function exponentialOf(series: Series): object {
  const { first, counts } = exponentialBuckets(series);
  return {
    scale: EXPONENTIAL_SCALE,
    zeroCount: String(series.zeros),
    positive: { offset: first, bucketCounts: counts.map(String) },
  };
}

function exemplarOf({ value, atUs, trace }: Exemplar): object {
  return { timeUnixNano: nanoseconds(atUs), asDouble: value, ...trace };
}

/** Spans in the JSON format of OTLP/HTTP (ExportTraceServiceRequest). */
export function otlpTraces(run: ExportedRun, spans: readonly object[]): object {
  return { resourceSpans: [{ resource: resourceOf(run), scopeSpans: [{ scope: SCOPE, spans }] }] };
}

/** The span of a request, from its send to its end; null if it was not sent. */
export function spanOf(send: Send, { traceId, spanId }: TraceContext, run: ExportedRun): object | null {
  const { actualOffsetNs, startOffsetNs, lastByteOffsetNs, intendedOffsetNs, answer, model } = send;
  if (actualOffsetNs === null || send.refused) return null;
  const { operation, provider } = operationOf(send.route);
  const at = (offsetNs: number) => nanoseconds(run.startUs + offsetNs / 1e3);
  const sentNs = startOffsetNs ?? actualOffsetNs;
  const endNs = lastByteOffsetNs ?? sentNs;
  const failed = hasFailed(send);
  const facts: Facts = {
    'gen_ai.operation.name': operation,
    'gen_ai.provider.name': provider,
    'gen_ai.request.model': model,
    'gen_ai.usage.input_tokens': answer?.promptTokens ?? null,
    'gen_ai.usage.output_tokens': answer?.outputTokens ?? null,
    'gen_ai.response.finish_reasons': answer?.finish == null ? null : [answer.finish],
    'http.response.status_code': send.status,
    'error.type': failed ? errorOf(send) : null,
    ...serverFacts(run),
    'reprise.send': send.index,
    'reprise.route': send.route,
    'reprise.exchange': `${send.segment}:${send.exchangeId}`,
    'reprise.planned_to_sent_ns': sentNs - intendedOffsetNs,
    'reprise.cancelled': send.cancelled,
    'reprise.warmup': send.warmup,
  };
  const first = answer?.firstTokenOffsetNs ?? null;
  return {
    traceId,
    spanId,
    name: model === null ? operation : `${operation} ${model}`,
    kind: CLIENT,
    startTimeUnixNano: at(sentNs),
    endTimeUnixNano: at(endNs),
    attributes: attributesOf(facts),
    events: first === null ? [] : [{ name: 'reprise.first_token', timeUnixNano: at(first) }],
    status: failed ? { code: ERROR } : {},
  };
}

function resourceOf({ id, version, name, tested: { labels = {}, captureDigest } }: ExportedRun): object {
  const named = Object.entries(labels).map(([label, value]) => [`reprise.label.${label}`, value]);
  return {
    attributes: attributesOf({
      ...Object.fromEntries(named),
      'reprise.capture.digest': captureDigest ?? null,
      'service.name': 'reprise',
      'service.version': version,
      'service.instance.id': id,
      'reprise.test': name,
    }),
  };
}

function serverFacts({ server }: ExportedRun): Facts {
  return { 'server.address': server.address, 'server.port': server.port };
}

/** Attributes without those that are null. */
function attributesOf(facts: Facts): object[] {
  return Object.entries(facts).flatMap(([key, value]) =>
    value === null ? [] : [{ key, value: anyValue(value) }],
  );
}

function anyValue(value: Value): object {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number') return { intValue: String(value) };
  return { arrayValue: { values: value.map(anyValue) } };
}

/** As protobuf's JSON form has it: JSON itself has no infinity. */
function double(value: number): number | 'Infinity' {
  return value === Number.POSITIVE_INFINITY ? 'Infinity' : value;
}

/** Microseconds as nanoseconds in text, because a double cannot represent epoch nanoseconds exactly. */
function nanoseconds(epochUs: number): string {
  return `${Math.round(epochUs)}000`;
}
