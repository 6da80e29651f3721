import { createRequire } from 'node:module';
import type { Metric, Registry } from 'prom-client';
import {
  LINK_LIMITS,
  LOSS_REASONS,
  MIRROR_DROPS,
  MIRROR_FAILURES,
  OMISSION_CAUSES,
  RECORDER_STATES,
  type RecorderStatus,
} from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { BODY_DROP_REASONS } from '../../core/errors.ts';
import type { SecondsHistogram } from '../../core/histogram.ts';
import { CONNECTION_FAILURES } from '../data-plane.ts';
import { REFUSALS } from '../http/headers.ts';
import { CODE_CLASSES, METHODS, PROTOCOLS } from '../recorder/exchange-monitor.ts';

/** The index of the library would load OpenTelemetry for exemplars, which a recording has none of. */
const MetricRegistry: typeof Registry = createRequire(import.meta.url)('prom-client/lib/registry.js');

export const METRICS_TYPE = MetricRegistry.PROMETHEUS_CONTENT_TYPE;

interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string | number>>;
  /** The sample's name if it is not the metric's, as for histograms. */
  readonly metricName?: string;
}

interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly values: readonly Sample[];
}

/**
 * A status in the format of Prometheus. All values of a scrape come from one reading, so that the equation holds in it:
 * seen = recorded + lost + omitted + pending. Labels come from closed lists, and all of them are present from the
 * start.
 */
export async function metricsOf(status: RecorderStatus): Promise<string> {
  const registry = new MetricRegistry();
  for (const family of familiesOf(status)) {
    // The library asks a metric for its values and formats them. It need not count, because our values are already
    // counted.
    registry.registerMetric({ ...family, get: () => family } as unknown as Metric);
  }
  return await registry.metrics();
}

function familiesOf(status: RecorderStatus): Family[] {
  return [
    ...accountOf(status),
    ...trafficOf(status),
    ...healthOf(status),
    ...storeOf(status),
    ...mirrorOf(status),
  ];
}

const UNITS = ['bytes', 'turns'] as const;

function accountOf({ seen, recorded, lost, omitted, pending, exchanges }: RecorderStatus): Family[] {
  const inUnits = UNITS.flatMap((unit) => [
    counter(`seen_${unit}_total`, `What passed, in ${unit}`, seen[unit]),
    counter(`recorded_${unit}_total`, `Seen and committed to the capture, in ${unit}`, recorded[unit]),
    counter(
      `lost_${unit}_total`,
      `Seen and not recorded, against our will, in ${unit}`,
      by('reason', LOSS_REASONS, (reason) => lost[reason]?.[unit]),
    ),
    counter(
      `omitted_${unit}_total`,
      `Seen and left out on purpose, in ${unit}`,
      by('cause', OMISSION_CAUSES, (cause) => omitted[cause]?.[unit]),
    ),
    gauge(`pending_${unit}`, `Seen and not settled yet, in ${unit}`, pending[unit]),
  ]);
  return [...inUnits, counter('exchanges_total', 'Exchanges committed to the capture', exchanges)];
}

function trafficOf({ traffic, connections, pending }: RecorderStatus): Family[] {
  const counts = new Map(traffic.requests.map((one) => [`${one.method} ${one.codeClass}`, one.count]));
  const requests = METHODS.flatMap((method) =>
    CODE_CLASSES.map((code_class) => ({
      labels: { method, code_class },
      value: counts.get(`${method} ${code_class}`) ?? 0,
    })),
  );
  const spoken = (unit: 'connections' | 'bytes') =>
    by('protocol', PROTOCOLS, (protocol) => traffic.protocols[protocol]?.[unit]);
  return [
    counter('proxy_requests_total', 'Recorded exchanges by method and class of status', requests),
    histogram(
      'proxy_request_duration_seconds',
      'Of recorded exchanges, from the first byte of the request to the last of the response',
      traffic.durationSeconds,
    ),
    gauge(
      'proxy_inflight_requests',
      'Turns whose exchange is not settled: under way, or waiting for their commit',
      pending.turns,
    ),
    gauge('proxy_connections', 'Open client connections', connections.open),
    counter('proxy_connections_total', 'Client connections accepted', connections.seen),
    counter('proxy_connections_turned_away_total', 'Client connections turned away', connections.turnedAway),
    counter(
      'proxy_connections_failed_total',
      'Client connections that came to nothing',
      by('failure', CONNECTION_FAILURES, (failure) => connections.failed[failure]),
    ),
    counter(
      'proxy_requests_refused_total',
      'Requests that the gateway answered itself',
      by('reason', REFUSALS, (reason) => connections.refused[reason]),
    ),
    counter(
      'capture_connections_total',
      'Connections that the recorder saw end, by protocol; to a gateway each exchange is one',
      spoken('connections'),
    ),
    counter(
      'capture_connection_bytes_total',
      'Bytes of connections that the recorder saw end, by protocol',
      spoken('bytes'),
    ),
    counter(
      'capture_bytes_total',
      'Body bytes of recorded exchanges, whatever was kept of them',
      by('direction', ['request', 'response'], (direction) => traffic[`${direction}Bytes`]),
    ),
    histogram('capture_write_duration_seconds', 'Commits to the capture', traffic.writeSeconds),
  ];
}

function healthOf(status: RecorderStatus): Family[] {
  const { recorderResidentBytes } = status;
  return [
    gauge('build_info', 'Version that runs', [
      { labels: { version: status.version, mode: status.mode }, value: 1 },
    ]),
    gauge('start_time_seconds', 'When the recording was started, since 1970', status.startedUs / 1e6),
    gauge(
      'state',
      'How recording fares: 1 for the state it is in',
      by('state', RECORDER_STATES, (state) => Number(status.state === state)),
    ),
    counter(
      'probe_connections_dropped_total',
      'Connections to the probe port that gave their place to a new one',
      status.probesDropped,
    ),
    gauge('ready', 'Whether traffic is accepted', Number(status.ready)),
    gauge('paused', 'Whether an operator paused the recording', Number(status.paused)),
    counter(
      'restarts_total',
      'Processes started again after they ended',
      by('process', ['recorder'], (process) => status.restarts[process]),
    ),
    counter(
      'recording_failures_total',
      'Times an error in the proxy ended the recording of all connections; traffic went on',
      status.recordingFailures,
    ),
    gauge('capture_queue_depth', 'Bytes of memory held for what waits for the recorder', status.queuedBytes),
    counter('capture_bodies_cut_total', 'Times the memory for assembly was spent', status.bodiesCut),
    counter(
      'capture_bodies_dropped_total',
      'Bodies that redaction could not read and nothing is stored of',
      by('reason', BODY_DROP_REASONS, (reason) => status.traffic.bodiesDropped[reason]),
    ),
    counter(
      'capture_links_missed_total',
      'Times a limit on the search for values of sessions was reached; the exchange is recorded',
      by('limit', LINK_LIMITS, (limit) => status.traffic.linksMissed[limit]),
    ),
    gauge('recorder_resident_bytes', 'Memory of the recorder process', recorderResidentBytes),
  ];
}

function storeOf({ disk }: RecorderStatus): Family[] {
  return [
    gauge('store_bytes', 'All files of the capture', disk.bytes),
    gauge('store_max_bytes', 'What they may take together', disk.maxBytes),
    gauge('store_free_bytes', 'Free on the file system of the capture', disk.freeBytes),
  ];
}

/** Without a mirror they have no samples. */
function mirrorOf({ mirror }: RecorderStatus): Family[] {
  const results = [...MIRROR_DROPS, ...MIRROR_FAILURES, 'answered'] as const;
  const counts = { ...mirror?.dropped, ...mirror?.failed, answered: mirror?.answered };
  const ended = mirror === null ? null : by('result', results, (result) => counts[result]);
  const seconds = (mirrored: 'production' | 'mirror') => mirror?.[`${mirrored}Seconds`] ?? null;
  return [
    counter(
      'mirror_requests_total',
      'Requests that the sample of the mirror chose, by what became of them',
      ended,
    ),
    counter('mirror_other_status_total', 'Mirrored answers with another status', mirror?.otherStatus ?? null),
    counter('mirror_slower_total', 'Mirrored answers that took longer', mirror?.slower ?? null),
    gauge('mirror_inflight_requests', 'Mirrored requests under way', mirror?.inFlight ?? null),
    histogram('mirror_duration_seconds', 'Of mirrored requests, at the mirror', seconds('mirror')),
    histogram(
      'mirror_production_duration_seconds',
      'Of the same requests, at production',
      seconds('production'),
    ),
  ];
}

/** A sample for each name of a closed list. */
function by<Name extends string>(
  label: string,
  names: readonly Name[],
  countOf: (name: Name) => number | undefined,
): Sample[] {
  return names.map((name) => ({ labels: { [label]: name }, value: countOf(name) ?? 0 }));
}

const counter = familiesOfType('counter');
const gauge = familiesOfType('gauge');

/** An unknown value has no sample, because 0 would be a false claim. */
function familiesOfType(type: 'counter' | 'gauge') {
  return (name: string, help: string, values: number | null | readonly Sample[]): Family => {
    const samples = typeof values === 'number' ? [{ value: values }] : (values ?? []);
    return { name: `reprise_${name}`, type, help, values: samples };
  };
}

function histogram(name: string, help: string, seconds: SecondsHistogram | null): Family {
  const full = `reprise_${name}`;
  if (seconds === null) return { name: full, type: 'histogram', help, values: [] };
  const { bounds, counts, sum } = seconds;
  let below = 0;
  const buckets = counts.map((count, index) => {
    below += count;
    return { metricName: `${full}_bucket`, labels: { le: bounds[index] ?? '+Inf' }, value: below };
  });
  const totals = [
    { metricName: `${full}_sum`, value: sum },
    { metricName: `${full}_count`, value: below },
  ];
  return { name: full, type: 'histogram', help, values: [...buckets, ...totals] };
}

const SECOND_NS = 1e9;
/**
 * More than a scraper and a person together request. Each takes a millisecond, and memory until garbage is collected.
 */
const FRESH_A_SECOND = 20;

/**
 * The text that answers a scrape. It is current, unless there were too many requests in this second. Then it is the
 * last text of the second. So a flood on the probe port takes neither memory nor time from the traffic.
 */
export class MetricsPage {
  readonly #statusOf: () => RecorderStatus;
  readonly #clock: Clock;
  #secondNs = Number.NEGATIVE_INFINITY;
  #rendered = 0;
  #last: Promise<Buffer> | null = null;

  constructor(statusOf: () => RecorderStatus, clock: Clock) {
    this.#statusOf = statusOf;
    this.#clock = clock;
  }

  text(): Promise<Buffer> {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#secondNs >= SECOND_NS) {
      this.#secondNs = nowNs;
      this.#rendered = 0;
    }
    if (this.#last === null || this.#rendered < FRESH_A_SECOND) {
      this.#rendered += 1;
      this.#last = metricsOf(this.#statusOf()).then((text) => Buffer.from(text, 'utf8'));
    }
    return this.#last;
  }
}
