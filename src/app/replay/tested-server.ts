import { type Reason, reason } from '../../analysis/verdict/reasons.ts';
import { MARKER_HEADER } from '../../core/headers.ts';
import type { TimeRange } from '../../core/ports.ts';
import type { MonitorsDocument } from '../../documents/monitors.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import {
  ASKED_PLACE,
  joinedDetails,
  METRICS_PLACE,
  OTHER_PLACES,
  type ServerDetails,
  type ServerSide,
  serverDifferences,
} from '../../documents/server-details.ts';
import { headersFor, type MonitorOptions } from '../../monitors/options.ts';
import { type AskedServer, DetailReader, serverAt } from '../../monitors/server-details.ts';
import type { EngineHealth } from '../../replay/engine/health.ts';
import { type CertificateRules, trustOf } from '../../replay/guard.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import type { Target } from '../../replay/target.ts';
import { commonLabels } from '../labels.ts';
import type { OpenedCapture } from '../open-capture.ts';

/** What is known of the recorded server while these windows were recorded. */
export function recordedServerOf(
  { inspection, serverDetailsWithin }: OpenedCapture,
  ranges: readonly TimeRange[],
): ServerSide {
  const { origins } = inspection;
  return {
    labels: commonLabels(origins.map((origin) => (origin.kind === 'recorded' ? origin.labels : undefined))),
    serverDetails: serverDetailsWithin(ranges),
  };
}

interface TestedServerParts {
  readonly target: Target;
  readonly options: Pick<ReplayOptions, 'addedHeaders' | keyof CertificateRules>;
  readonly monitors: MonitorOptions;
  readonly recorded: ServerSide;
}

/**
 * Asks a target what it is if a recorder had asked, and reads the metrics that are watched.
 * @param mark the value of the header that marks replayed traffic
 */
export async function askTestedServer(
  { target, options, monitors, recorded: { serverDetails = {} } }: TestedServerParts,
  mark: string,
  signal: AbortSignal,
): Promise<ServerDetails> {
  const places = Object.keys(serverDetails);
  const reader = new DetailReader();
  const server = serverOf(target, options, mark);
  const models = places.flatMap((place) => /^\/v2\/models\/([^/%]+)/.exec(place)?.[1] ?? []);
  const asked = places.some((place) => place.startsWith(ASKED_PLACE))
    ? [reader.ask(server, models, signal)]
    : [];
  const watched = monitors.monitor.flatMap((place) => {
    if (place.kind === 'target') return [{ ...server, basePath: METRICS_PLACE }];
    return place.kind === 'scrape' ? [serverAt(place.url, headersFor(monitors, place))] : [];
  });
  const read = watched.map((each) => reader.askMetrics(each, signal));
  return (await Promise.all([...asked, ...read])).reduce(joinedDetails, {});
}

function serverOf(
  { origin, socketPath, tls, authority, basePath }: Target,
  { addedHeaders, ...certificates }: TestedServerParts['options'],
  mark: string,
): AskedServer {
  const { connect } = serverAt(origin);
  return {
    connect: {
      ...(socketPath === null ? connect : { socketPath }),
      ...(tls && trustOf(certificates)),
    },
    basePath,
    headers: [['host', authority], [MARKER_HEADER, mark], ...addedHeaders],
  };
}

const REPLICAS: ReadonlySet<string> = new Set(['replicas_ready', 'replicas']);

interface SeenOfServer {
  readonly outcome: { readonly health: Pick<EngineHealth, 'software'> };
  readonly monitors: Pick<MonitorsDocument, 'series'>;
}

/** The facts of a run about both servers, with the software that its answers named and the replicas of its monitors. */
export function testedServer(
  asked: ServerDetails,
  recorded: ServerSide,
  { outcome, monitors: { series } }: SeenOfServer,
): Pick<TestedDocument, 'serverDetails' | 'recordedServer'> {
  const seen = (p50: 'recorded' | 'replayed') =>
    series
      .filter(({ name }) => REPLICAS.has(name))
      .map((each) => ({ name: each.name, value: p50 === 'recorded' ? each.recorded?.p50 : each.p50 }))
      .filter(({ value }) => value != null)
      .map(({ name, value }) => ({ [OTHER_PLACES.monitors]: { [name]: [String(value)] } }));
  const reader = new DetailReader();
  const answered = outcome.health.software.map((name) => reader.software(name));
  return {
    serverDetails: [...answered, ...seen('replayed')].reduce(joinedDetails, asked),
    recordedServer: {
      ...recorded,
      serverDetails: seen('recorded').reduce(joinedDetails, recorded.serverDetails ?? {}),
    },
  };
}

/** A note if the tested server differs from the recorded one. */
export function serverNotes({ recordedServer = {}, ...tested }: TestedDocument): Reason[] {
  const differences = serverDifferences(recordedServer, tested);
  return differences.length === 0 ? [] : [reason('server_differs', { differences })];
}
