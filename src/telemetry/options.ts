import { AppError, type Problems } from '../core/errors.ts';
import type { HeaderPair } from '../core/headers.ts';
import { choice, grouped, list, type OptionParser, type ResolvedOptions, value } from '../core/options.ts';
import { shownUrl } from '../core/text.ts';
import { parseShare, parseWaitMs, refused } from '../core/units.ts';

/** Shorter intervals cost more, and dashboards do not show them. */
const LEAST_INTERVAL_MS = 500;

const parseReceiver: OptionParser<string> = (text, what) => {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) throw refused(what, shownUrl(text), 'is no http URL');
  if (url.username + url.password + url.search + url.hash !== '') {
    // The URL is stored with the run.
    throw new AppError('OPTION_INVALID', `${what}: the URL holds credentials, a query or a fragment`, {
      hint: `Give credentials with ${what}-header "Authorization: env:NAME".`,
    });
  }
  return url.href.replace(/\/+$/, '');
};

const parseInterval: OptionParser<number> = (text, what) => {
  const ms = parseWaitMs(text, what);
  if (ms < LEAST_INTERVAL_MS) throw refused(what, text, `is below ${LEAST_INTERVAL_MS}ms`);
  return ms;
};

const HEADER = '"Name: value", "Name: env:VARIABLE" or "Name: file:PATH"';

const OTLP_HISTOGRAMS = ['exponential', 'explicit'] as const;
export type OtlpHistograms = (typeof OTLP_HISTOGRAMS)[number];

/** Receivers of metrics and traces during a run. */
export const TELEMETRY_OPTIONS = grouped('Telemetry', {
  otlp: value(
    '--otlp <url>',
    'OpenTelemetry receiver of metrics and traces, such as http://collector:4318',
    parseReceiver,
  ),
  otlpHeader: list('--otlp-header <header>', `header for it: ${HEADER}`),
  otlpHistograms: choice(
    '--otlp-histograms <form>',
    'buckets of its histograms: exponential, or explicit if what it passes them on to drops exponential ones',
    OTLP_HISTOGRAMS,
    { default: 'exponential' },
  ),
  traceSample: value(
    '--trace-sample <share>',
    'share of requests that are sent with a traceparent and exported as spans (needs --otlp)',
    parseShare,
    { default: '1%' },
  ),
  remoteWrite: value(
    '--remote-write <url>',
    'Prometheus that takes metrics by remote write, such as http://prometheus:9090/api/v1/write',
    parseReceiver,
  ),
  remoteWriteHeader: list('--remote-write-header <header>', `header for it: ${HEADER}`),
  telemetryInterval: value('--telemetry-interval <time>', 'time between two exports', parseInterval, {
    default: '5s',
  }),
});

/** One receiver. */
export interface Receiver {
  readonly kind: 'otlp' | 'remote_write';
  readonly url: string;
  /** May be secret: never stored. */
  readonly headers: readonly HeaderPair[];
}

export interface TelemetryOptions {
  /** Empty if nothing is exported. */
  readonly receivers: readonly Receiver[];
  /** Null if no request is traced. */
  readonly traceShare: number | null;
  readonly intervalMs: number;
  readonly otlpHistograms: OtlpHistograms;
}

/** Reads the headers. @param readHeader reads one header, and a secret in it */
export function telemetryOptionsOf(
  read: ResolvedOptions<typeof TELEMETRY_OPTIONS>,
  problems: Problems,
  readHeader: (text: string, what: string) => HeaderPair,
): TelemetryOptions {
  const receiver = (kind: Receiver['kind'], url: string | null, texts: readonly string[], flag: string) => {
    const headers = texts.flatMap((text) =>
      problems.attempt<HeaderPair[]>(() => [readHeader(text, `${flag}-header`)], []),
    );
    if (url === null && texts.length > 0) problems.add(`${flag}-header has no effect without ${flag}`);
    return url === null ? [] : [{ kind, url, headers }];
  };
  return {
    receivers: [
      ...receiver('otlp', read.otlp, read.otlpHeader, '--otlp'),
      ...receiver('remote_write', read.remoteWrite, read.remoteWriteHeader, '--remote-write'),
    ],
    traceShare: read.otlp === null ? null : read.traceSample,
    intervalMs: read.telemetryInterval,
    otlpHistograms: read.otlpHistograms,
  };
}

/** The options as a run stores them, without values of headers. */
export function describeTelemetry({ receivers, traceShare, intervalMs }: TelemetryOptions) {
  return {
    telemetry: receivers.map(({ kind, url, headers }) => ({
      kind,
      url,
      headers: headers.map(([name]) => name),
    })),
    traceSample: traceShare,
    telemetryIntervalMs: intervalMs,
  };
}
