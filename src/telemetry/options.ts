import { AppError, type Problems } from '../core/errors.ts';
import type { HeaderPair } from '../core/headers.ts';
import {
  grouped,
  type OptionParser,
  part,
  partsOf,
  type ResolvedOptions,
  requiredPart,
  value,
  word,
} from '../core/options.ts';
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
      hint: `Give credentials with --header "${what.slice(2)} Authorization: env:NAME".`,
    });
  }
  return url.href.replace(/\/+$/, '');
};

const parseInterval: OptionParser<number> = (text, what) => {
  const ms = parseWaitMs(text, what);
  if (ms < LEAST_INTERVAL_MS) throw refused(what, text, `is below ${LEAST_INTERVAL_MS}ms`);
  return ms;
};

const OTLP_HISTOGRAMS = ['exponential', 'explicit'] as const;
export type OtlpHistograms = (typeof OTLP_HISTOGRAMS)[number];

const EXPORT_MS = 5_000;

/** Receivers of metrics and traces during a run. */
export const TELEMETRY_OPTIONS = grouped('Telemetry', {
  otlp: value(
    '--otlp <url|parts>',
    'OpenTelemetry receiver of metrics and traces, such as http://collector:4318; traces=SHARE of requests are sent with ' +
      'a traceparent and exported as spans (default: 1%); histograms=explicit if what it passes them on to drops ' +
      'exponential ones; interval=TIME between two exports (default: 5s)',
    partsOf(
      {
        url: requiredPart(parseReceiver),
        traces: part(parseShare, '1%'),
        histograms: part(word(OTLP_HISTOGRAMS), 'exponential'),
        interval: part(parseInterval),
      },
      'url',
    ),
  ),
  remoteWrite: value(
    '--remote-write <url|parts>',
    'Prometheus that takes metrics by remote write, such as http://prometheus:9090/api/v1/write; interval=TIME between two exports (default: 5s)',
    partsOf({ url: requiredPart(parseReceiver), interval: part(parseInterval) }, 'url'),
  ),
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

/** @param headers headers for the receivers: `otlp` or `remote-write` */
export function telemetryOptionsOf(
  { otlp, remoteWrite }: ResolvedOptions<typeof TELEMETRY_OPTIONS>,
  headers: readonly { readonly to: string; readonly header: HeaderPair }[],
  problems: Problems,
): TelemetryOptions {
  const receiver = (kind: Receiver['kind'], name: string, url: string | undefined) => {
    const own = headers.filter(({ to }) => to === name).map(({ header }) => header);
    if (url === undefined && own.length > 0)
      problems.add(`--header "${name} …" has no effect without --${name}`);
    return url === undefined ? [] : [{ kind, url, headers: own }];
  };
  const intervals = new Set([otlp?.interval, remoteWrite?.interval].filter((each) => each != null));
  if (intervals.size > 1) problems.add('--otlp and --remote-write have one interval: give the same to both');
  return {
    receivers: [
      ...receiver('otlp', 'otlp', otlp?.url),
      ...receiver('remote_write', 'remote-write', remoteWrite?.url),
    ],
    traceShare: otlp?.traces ?? null,
    intervalMs: [...intervals][0] ?? EXPORT_MS,
    otlpHistograms: otlp?.histograms ?? 'exponential',
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
