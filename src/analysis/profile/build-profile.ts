import type { Histogram } from '../../core/histogram.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { Counted, ProfileDocument } from '../../documents/profile.ts';
import type { NamedGroups } from '../stats/tally.ts';
import { dailyCycle, unusualDays, weeklyCycle, weekOf } from './cycle.ts';
import { distributionOf, distributionsOf, shapeOf } from './distribution.ts';
import type { Group, ProfileStatistics } from './statistics.ts';

/** Facts about the capture that are not in the statistics. */
export interface ProfileContext
  extends Pick<
    ProfileDocument,
    | 'capture'
    | 'filters'
    | 'unfilteredRequests'
    | 'coverage'
    | 'coverageUnexplained'
    | 'losses'
    | 'omitted'
    | 'payloads'
    | 'links'
    | 'reuse'
    | 'notes'
  > {
  readonly timeZone: string;
  readonly search: NonNullable<ProfileDocument['window']>['search'];
}

export const PRIVACY_STATEMENT =
  'This profile holds counts, times, sizes and names of routes and models. It holds no payload, no header and no secret.';

/** Builds the document from finished statistics. */
export function buildProfile(statistics: ProfileStatistics, context: ProfileContext): ProfileDocument {
  const { timeZone: _, search: __, notes, ...known } = context;
  return {
    schemaVersion: 1,
    kind: 'profile',
    privacy: { holdsPayloads: false, holdsSecrets: false, shared: false, statement: PRIVACY_STATEMENT },
    ...known,
    window: windowOf(statistics, context),
    requests: statistics.requests,
    ...arrivalParts(statistics),
    ...cycleParts(statistics),
    mix: mixOf(statistics),
    ...callParts(statistics),
    ...partyParts(statistics),
    ...sizeParts(statistics),
    concurrency: statistics.concurrency.figures(),
    errors: errorsOf(statistics),
    retries: retriesOf(statistics),
    notes: [...notes, ...notesOf(statistics)],
  };
}

function windowOf(
  { windows }: ProfileStatistics,
  { timeZone, search }: ProfileContext,
): ProfileDocument['window'] {
  if (windows.length === 0) return null;
  return {
    from: formatInstantUs(Math.min(...windows.map(({ fromUs }) => fromUs))),
    to: formatInstantUs(Math.max(...windows.map(({ toUs }) => toUs)) - 1),
    spanS: windows.reduce((sum, { fromUs, toUs }) => sum + (toUs - 1 - fromUs), 0) / 1e6,
    timeZone,
    parts: windows.map(({ fromUs, toUs, requests }) => ({
      from: formatInstantUs(fromUs),
      to: formatInstantUs(toUs - 1),
      requests,
    })),
    search,
  };
}

function arrivalParts(
  statistics: ProfileStatistics,
): Pick<ProfileDocument, 'rate' | 'peaks' | 'series' | 'interArrival' | 'idc'> {
  const { arrivals } = statistics;
  const { ratePerSecond: mean, cv, ties, idc, gapMs } = arrivals.figures();
  const peaks = statistics.peaks.flatMap(({ windowS, counts: { wholePeak } }) => {
    if (wholePeak === null) return [];
    const { requests, meanRequests, from } = wholePeak;
    const toMean = requests / meanRequests;
    return [{ windowS, requests, perSecond: requests / windowS, toMean, from: formatInstantUs(from) }];
  });
  const of = (windowS: number) => peaks.find((peak) => peak.windowS === windowS);
  const columns = statistics.series.columns();
  return {
    rate: {
      mean,
      peak1s: of(1)?.perSecond ?? null,
      peak60s: of(60)?.perSecond ?? null,
      peak10m: of(600)?.perSecond ?? null,
      peak1h: of(3_600)?.perSecond ?? null,
      peakToMean1s: of(1)?.toMean ?? null,
      peakToMean60s: of(60)?.toMean ?? null,
      peakToMean10m: of(600)?.toMean ?? null,
      peakToMean1h: of(3_600)?.toMean ?? null,
    },
    peaks,
    series: { ...columns, failed: columns.failed.map((count) => whereEnded(statistics, count)) },
    interArrival: {
      cv,
      meanMs: arrivals.gaps.mean === null ? null : arrivals.gaps.mean / 1e3,
      p50Ms: gapMs?.p50 ?? null,
      p90Ms: gapMs?.p90 ?? null,
      p99Ms: gapMs?.p99 ?? null,
      maxMs: gapMs?.max ?? null,
      ties,
      shape: shapeOf(arrivals.gaps, 1e-3),
    },
    idc,
  };
}

function cycleParts({
  hours,
}: ProfileStatistics): Pick<ProfileDocument, 'hourOfWeek' | 'hourOfWeekPerSecond' | 'cycle'> {
  const days = hours.days();
  return {
    ...weekOf(days),
    cycle: { daily: dailyCycle(days), weekly: weeklyCycle(days), unusual: unusualDays(days) },
  };
}

function mixOf(statistics: ProfileStatistics): ProfileDocument['mix'] {
  const total = statistics.requests;
  const counted = <Name>(counts: ReadonlyMap<Name, number>): (readonly [Name, Counted])[] =>
    [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([name, requests]) => [name, { requests, share: total === 0 ? 0 : requests / total }]);
  const groups = (named: NamedGroups<Group>) =>
    named.ordered().map(([name, group]) => [name && withoutTokens(name), group.figures(total)] as const);
  return {
    routes: groups(statistics.routes).map(([route, figures]) => ({ route, ...figures })),
    models: groups(statistics.models).map(([model, figures]) => ({ model, ...figures })),
    statuses: counted(statistics.statuses).map(([status, figures]) => ({ status, ...figures })),
    methods: counted(statistics.methods).map(([method, figures]) => ({ method, ...figures })),
    protocols: counted(statistics.protocols).map(([protocol, figures]) => ({ protocol, ...figures })),
    outcomes: Object.fromEntries(
      Object.entries(statistics.outcomes).map(([name, count]) => [name, whereEnded(statistics, count)]),
    ),
    streamed: statistics.streamed,
  };
}

/** Absent if there are no gRPC calls. */
function callParts({ calls, requests: total }: ProfileStatistics): Pick<ProfileDocument, 'grpc'> {
  const { requests, statuses, requestMessages, responseMessages } = calls;
  if (requests === 0) return {};
  const ordered = [...statuses].sort(([, a], [, b]) => b - a);
  return {
    grpc: {
      requests,
      share: requests / total,
      statuses: ordered.map(([status, times]) => ({ status, requests: times, share: times / total })),
      ...distributionsOf({ requestMessages, responseMessages }),
    },
  };
}

function partyParts(
  statistics: ProfileStatistics,
): Pick<ProfileDocument, 'duplicateRatio' | 'duplicateRatioExact' | 'sessions' | 'clients'> {
  const { ratio, exact } = statistics.duplicates.figures();
  return {
    duplicateRatio: ratio,
    duplicateRatioExact: exact,
    sessions: statistics.sessions.figures(),
    clients: statistics.clients.figures(),
  };
}

function sizeParts(statistics: ProfileStatistics) {
  const { latencyUs, firstByteUs, firstTokenUs, promptTokens, outputTokens, batch } = statistics;
  const shaped = (histogram: Histogram, unit = 1) => ({
    ...distributionOf(histogram, unit),
    shape: shapeOf(histogram, unit),
  });
  return {
    requestBytes: shaped(statistics.requestBytes),
    responseBytes: shaped(statistics.responseBytes),
    latencyMs: shaped(latencyUs, 1e-3),
    firstByteMs: distributionOf(firstByteUs, 1e-3),
    ttftMs: distributionOf(firstTokenUs, 1e-3),
    latencyByInputSize: statistics.inputSizes.figures(statistics.requests),
    tokens: distributionsOf({ prompt: promptTokens, output: outputTokens }),
    batch: distributionOf(batch),
  };
}

function errorsOf(statistics: ProfileStatistics): ProfileDocument['errors'] {
  const { errors, outcomes, ended, answerErrors } = statistics;
  const counted = (count: number) => whereEnded(statistics, count);
  return {
    failed: counted(errors.failed),
    failedShare: ended === 0 ? null : errors.failed / ended,
    serverErrors: counted(errors.serverErrors),
    clientErrors: counted(errors.clientErrors),
    tooManyRequests: counted(errors.tooManyRequests),
    clientAborted: counted(outcomes.client_aborted),
    upstreamFailed: counted(outcomes.upstream_failed),
    timedOut: counted(outcomes.timed_out),
    answerErrors: answerErrors.answers === 0 ? null : { ...answerErrors },
  };
}

/** Counts that depend on outcomes; null if there are requests, but no outcome is known. */
function whereEnded<Counts>({ requests, ended, outcomes }: ProfileStatistics, counts: Counts): Counts | null {
  return requests > 0 && ended + outcomes.client_aborted === 0 ? null : counts;
}

function retriesOf(statistics: ProfileStatistics): ProfileDocument['retries'] {
  const { retries, duplicates, requests } = statistics;
  const { count } = duplicates.figures();
  const figures = retries.figures();
  // A retry is recognized by its body and by an earlier failure. Without them it is unknown.
  const likely = requests > 0 && count === 0 ? null : whereEnded(statistics, figures.likely);
  return { ...figures, likely, share: count === 0 || likely === null ? null : likely / count };
}

function* notesOf(statistics: ProfileStatistics): Generator<string> {
  const { routes, models, methods, protocols, hours, requests } = statistics;
  const concurrency = statistics.concurrency.figures();
  if (routes.ungrouped > 0) yield `${routes.ungrouped} requests went to further routes, which are not listed`;
  if (models.ungrouped > 0) yield `${models.ungrouped} requests named further models, which are not listed`;
  for (const [name, { unlisted }] of Object.entries({ methods, protocols })) {
    if (unlisted > 0) yield `${unlisted} requests used further ${name}, which are not listed`;
  }
  if (!hours.complete)
    yield 'the window spans more than 1,100 days: its cycle is of a part of them, or of none';
  if (concurrency.capped) yield 'over 65,536 requests were in flight: concurrency is a lower bound';
  for (const name of ['sessions', 'clients'] as const) {
    const { exact, undercount } = statistics[name].figures();
    if (exact) continue;
    yield `over 65,536 ${name}: their number is an estimate (standard error 0.4 %), the requests and shares of the busiest are lower bounds (each sent up to ${undercount} more), and what each of all sent is not known`;
  }
  if (!statistics.duplicates.figures().exact)
    yield 'over 262,144 different requests: the duplicate ratio is an estimate, with a standard error of 0.004';
  if (requests > 0 && concurrency.known === 0)
    yield 'no end of an exchange was recorded: latency and concurrency are not known';
}

/** Runs of characters that may be keys: long, of letters, digits and underscores; or long hexadecimal numbers. */
const RUN = /[A-Za-z0-9_]{16,}|[0-9a-fA-F]{20,}/g;
const NAMED_KEYS = /\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]+(?:\.[\w-]+)*/g;

/**
 * A route or model name without texts that look like credentials. Some services have keys in their paths, which a
 * recorder cannot recognize. Words, versions and sizes stay.
 */
function withoutTokens(name: string): string {
  return name.replace(NAMED_KEYS, '{token}').replace(RUN, (run) => (looksRandom(run) ? '{token}' : run));
}

function looksRandom(run: string): boolean {
  if (/^[0-9a-fA-F]{20,}$/.test(run)) return true;
  return /\d/.test(run) && /[a-z]/.test(run) && /[A-Z]/.test(run);
}
