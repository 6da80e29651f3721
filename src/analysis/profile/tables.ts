import { type Distribution, IDC_WINDOWS } from '../../documents/parts.ts';
import type {
  GroupFigures,
  PartyFigures,
  PayloadKindFigures,
  ProfileDocument,
} from '../../documents/profile.ts';
import { bytesText, columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';

/** Rows that are shown of a list; the JSON document has all. */
export const SHOWN = 25;

const PERCENTILES = ['p50', 'p95', 'p99', 'max'];

/** `60` → `1 min`. */
function windowText(windowS: number): string {
  if (windowS < 60) return `${windowS} s`;
  return windowS < 3_600 ? `${windowS / 60} min` : `${windowS / 3_600} h`;
}

export function peaksTable({ peaks }: ProfileDocument): Table | null {
  if (peaks.length === 0) return null;
  return {
    title: 'Peaks',
    unit: 'requests/s',
    source: 'windows side by side from the first arrival, the last and partial one left out',
    lookFor: 'how much more than the mean a second, a minute and an hour may bring',
    columns: columnsOf(['window'], ['requests', 'per second', 'times the mean', 'from (UTC)']),
    rows: peaks.map(({ windowS, requests, perSecond, toMean, from }) => [
      windowText(windowS),
      numberText(requests),
      numberText(perSecond),
      numberText(toMean),
      from.slice(0, 19).replace('T', ' '),
    ]),
  };
}

/** Rate, gaps and dispersion in numbers; a page draws them. */
export function arrivalsTable({ rate, interArrival, idc, concurrency }: ProfileDocument): Table {
  const { p50Ms, p90Ms, p99Ms, maxMs, cv, ties } = interArrival;
  return {
    title: 'Arrivals',
    unit: 'as named in each row',
    source: 'arrivals as recorded; dispersion in windows from the first arrival',
    lookFor: 'a CV or a dispersion far over 1: burstier than random traffic',
    columns: columnsOf(['measure'], ['value']),
    rows: [
      ['mean rate', `${numberText(rate.mean)}/s`],
      ['gap p50 / p90 / p99 / max', [p50Ms, p90Ms, p99Ms, maxMs].map(msText).join(' / ')],
      ['CV of gaps', numberText(cv)],
      ['ties', shareText(ties)],
      ...IDC_WINDOWS.filter((window) => idc[window] !== null).map((window) => [
        `dispersion at ${window} s`,
        numberText(idc[window]),
      ]),
      ['in flight, mean / most', `${numberText(concurrency.mean)} / ${concurrency.max ?? NONE}`],
    ],
  };
}

export function routesTable({ mix }: ProfileDocument, shown = SHOWN): Table {
  const rows = mix.routes.map((each) => [each.route, each] as const);
  return groupTable('Routes', 'method and path with variable parts named', rows, shown);
}

export function modelsTable({ mix }: ProfileDocument, shown = SHOWN): Table {
  const rows = mix.models.map((each) => [each.model, each] as const);
  return groupTable('Models', 'models as requests name them', rows, shown);
}

function groupTable(
  title: string,
  what: string,
  rows: readonly (readonly [string | null, GroupFigures])[],
  shown: number,
): Table {
  return {
    title: rows.length > shown ? `${title}: ${shown} of ${rows.length}` : title,
    unit: 'requests; latency in ms or s, of completed requests',
    source: `${what} as recorded, the largest first`,
    lookFor: 'which of them a test must contain; a small share with a long p99 is what hurts',
    columns: columnsOf(['name'], ['requests', 'share', 'failed', 'mean request', ...PERCENTILES]),
    rows: rows
      .slice(0, shown)
      .map(([name, group]) => [
        name ?? 'not known',
        numberText(group.requests),
        shareText(group.share),
        numberText(group.failed),
        bytesText(group.meanRequestBytes === null ? null : Math.round(group.meanRequestBytes)),
        ...percentileCells(group.latencyMs, msText),
      ]),
  };
}

/** Statuses, sizes, duplicates and parties in numbers; a page draws them. */
export function mixTable(document: ProfileDocument, shown: number): Table {
  const { mix, requestBytes, responseBytes, duplicateRatio, duplicateRatioExact, sessions, clients } =
    document;
  const statuses = mix.statuses
    .slice(0, shown)
    .map(({ status, share }) => `${status ?? 'none'} ${shareText(share)}`);
  const sizes = (distribution: Distribution) =>
    distribution.count === 0 ? 'not known' : percentileCells(distribution, bytesText).join(' / ');
  return {
    title: 'Mix',
    unit: 'as named in each row; sizes as p50 / p95 / p99 / max',
    source: 'statuses, bodies after transfer decoding, and keyed hashes made while recording',
    lookFor: '429 and 5xx: a replay that does not reproduce them is not the same test',
    columns: columnsOf(['measure', 'value'], []),
    rows: [
      ['statuses', statuses.join(', ') || NONE],
      ['request bodies', sizes(requestBytes)],
      ['response bodies', sizes(responseBytes)],
      ['duplicates', `${shareText(duplicateRatio)}${duplicateRatioExact ? '' : ' (estimate)'}`],
      ['sessions', partyText(sessions)],
      ['clients', partyText(clients)],
    ],
  };
}

function partyText({ requests, count, exact, topShares }: PartyFigures): string {
  if (requests === 0) return 'not known';
  const bound = exact ? '' : 'at least ';
  return `${exact ? '' : 'about '}${numberText(count)}; the busiest sent ${bound}${shareText(topShares.top1)}, the busiest ten ${bound}${shareText(topShares.top10)}`;
}

export function percentilesTable({ latencyMs, firstByteMs, ttftMs }: ProfileDocument): Table | null {
  if (latencyMs.count === 0) return null;
  const parts = [
    ['last byte', latencyMs],
    ['first byte', firstByteMs],
    ['first token', ttftMs],
  ] as const;
  return {
    title: 'Latency as recorded: percentiles',
    unit: 'ms or s',
    source: 'completed requests; the first token where answers are streams',
    lookFor: 'a first byte as late as the last: nothing is streamed, or something in between buffers',
    columns: columnsOf(['to the'], ['requests', ...PERCENTILES]),
    rows: parts
      .filter(([, distribution]) => distribution.count > 0)
      .map(([name, distribution]) => [
        name,
        numberText(distribution.count),
        ...percentileCells(distribution, msText),
      ]),
  };
}

export function inputSizesTable({ latencyByInputSize }: ProfileDocument): Table {
  return {
    title: 'Latency by size of the input',
    unit: 'ms or s',
    source: 'completed requests by bytes of the request body, a class to each doubling',
    lookFor: 'where latency begins to grow with the input: the mix of sizes matters beyond that',
    columns: columnsOf(['request body'], ['requests', 'share', 'failed', ...PERCENTILES]),
    rows: latencyByInputSize.map((group) => [
      `${bytesText(group.fromBytes)} to ${bytesText(group.toBytes)}`,
      numberText(group.requests),
      shareText(group.share),
      numberText(group.failed),
      ...percentileCells(group.latencyMs, msText),
    ]),
  };
}

export function failuresTable({ errors, retries, payloads }: ProfileDocument): Table {
  const sayRetry = payloads === null ? null : numberText(payloads.sayRetry);
  return {
    title:
      errors.failed === null
        ? 'Failures and retries: how requests ended is not known'
        : 'Failures and retries',
    unit: 'requests',
    source: 'how exchanges ended, and their statuses',
    lookFor: 'retries that follow failures: they are load of their own, and a replay repeats them',
    columns: columnsOf(['what'], ['requests']),
    rows: [
      [
        'failed (no complete answer, or 5xx)',
        `${numberText(errors.failed)} (${shareText(errors.failedShare)})`,
      ],
      ['5xx', numberText(errors.serverErrors)],
      ['4xx', numberText(errors.clientErrors)],
      ['of them 429', numberText(errors.tooManyRequests)],
      ['client aborted', numberText(errors.clientAborted)],
      ['upstream failed', numberText(errors.upstreamFailed)],
      ['timed out', numberText(errors.timedOut)],
      [
        `likely retries (same request within ${retries.windowS} s of its failure)`,
        numberText(retries.likely),
      ],
      ...(sayRetry === null
        ? []
        : [['say of themselves that they are retries (of those looked into)', sayRetry]]),
    ],
  };
}

export function missingTable({ coverage, coverageUnexplained, losses, omitted }: ProfileDocument): Table {
  const rows = (amounts: typeof losses.by | typeof omitted.by) =>
    Object.entries(amounts).map(([name, { exchanges, bytes }]) => [
      name,
      numberText(exchanges),
      bytesText(bytes),
    ]);
  const isWhole = losses.exchanges + omitted.exchanges + losses.bytes + omitted.bytes === 0;
  return {
    title: `Coverage: ${shareText(coverage)}`,
    unit: 'exchanges and bytes',
    source: 'the recorder’s account; coverage of the window, losses and omissions of the whole capture',
    lookFor: `a missing share (here ${shareText(coverageUnexplained)}): what was seen and is not here makes every rate too low`,
    columns: columnsOf(['lost or left out'], ['exchanges', 'bytes']),
    rows: isWhole ? [['nothing', '0', bytesText(0)]] : [...rows(losses.by), ...rows(omitted.by)],
  };
}

/** What the requests of one protocol ask for. @param of the requests that were read */
export function payloadTable(kind: PayloadKindFigures, of: string): Table {
  const row = (name: string, distribution: Distribution, text: (value: number | null) => string) => {
    const { count, mean, p50, p90, p99, max } = distribution;
    if (count === 0) return [];
    const values = [mean === null ? null : Number(mean.toPrecision(3)), p50, p90, p99, max];
    return [[name, numberText(count), ...values.map(text)]];
  };
  return {
    title: `${kind.protocol}: ${numberText(kind.requests)} requests, ${shareText(kind.share)}`,
    unit: 'as named in each row, over requests that state it',
    source: `bodies of ${of}`,
    lookFor: 'the spread between p50 and p99: a test with mean inputs misses what is slow',
    columns: columnsOf(['what'], ['requests', 'mean', 'p50', 'p90', 'p99', 'max']),
    rows: [
      ...row('body', kind.bodyBytes, bytesText),
      ...row('batch', kind.batch, numberText),
      ...row('prompt tokens, reported', kind.promptTokens.reported, numberText),
      ...row('prompt tokens, counted', kind.promptTokens.counted, numberText),
      ...row('prompt tokens, estimated', kind.promptTokens.estimated, numberText),
      ...row('output tokens, reported', kind.outputTokens.reported, numberText),
      ...row('output tokens, estimated', kind.outputTokens.estimated, numberText),
      ...row('most tokens allowed', kind.maxTokens, numberText),
      ...row('tensors', kind.tensors.perRequest, numberText),
      ...row('images', kind.images.perRequest, numberText),
      ...row('image size', kind.images.bytes, bytesText),
      ...row('image width, pixels', kind.images.width, numberText),
      ...row('image height, pixels', kind.images.height, numberText),
      ...row('parts of the form', kind.form.parts, numberText),
      ...row('part size', kind.form.partBytes, bytesText),
    ],
  };
}

/** p50, p95, p99 and the greatest as cells of a table. */
function percentileCells(
  { p50, p95, p99, max }: Distribution,
  text: (value: number | null) => string,
): string[] {
  return [p50, p95, p99, max].map(text);
}
