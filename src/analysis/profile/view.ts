import { zonedTime } from '../../core/calendar.ts';
import { isClientError } from '../../core/exchange.ts';
import { linesOf } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import { type Distribution, IDC_WINDOWS } from '../../documents/parts.ts';
import { PERCENTILE_NAMES, percentilesIn } from '../../documents/percentiles.ts';
import type {
  GroupFigures,
  PartyFigures,
  PayloadKindFigures,
  ProfileDocument,
} from '../../documents/profile.ts';
import {
  bytesText,
  columnsOf,
  msText,
  NONE,
  numberText,
  type Section,
  sectionOf,
  shareText,
  type Table,
  tableText,
} from '../render/table.ts';

/** Most rows of a list. The page has more, and the JSON document has all. */
const LISTED = 8;

/**
 * The profile as lines of text, the most important first. Cells may have recorded text, so escape them for printing.
 */
export function profileText(document: ProfileDocument): string[] {
  const { window, requests, filters, notes } = document;
  const standing = findingsOf(document);
  return [
    `Profile of ${document.capture ?? 'a capture'}`,
    window === null
      ? '  the capture holds no exchange'
      : `  ${zonedTime(Date.parse(window.from), window.timeZone)} to ${zonedTime(Date.parse(window.to), window.timeZone)} ${window.timeZone} (${formatMs(window.spanS * 1e3)}), ${countOf(requests, 'request')}`,
    ...(filters.length === 0
      ? []
      : [`  only ${filters.join('; ')}: ${requests} of ${document.unfilteredRequests}`]),
    ...(standing.length === 0 ? [] : ['', ...standing.map((finding) => `  ${finding}`)]),
    ...profileSections(document, LISTED).flatMap(({ tables }) =>
      tables.flatMap((table) => ['', ...tableText(table, 'brief')]),
    ),
    '',
    document.privacy.statement,
    ...(notes.length === 0 ? [] : ['', 'Notes', ...notes.map((note) => `  ${note}`)]),
  ];
}

type SectionKey = 'arrivals' | 'cycle' | 'mix' | 'payloads' | 'latency' | 'trouble';

/** The sections of a profile, in reading order. @param shown most rows of a list; the JSON document has all */
export function profileSections(document: ProfileDocument, shown: number): Section<SectionKey>[] {
  const { mix, payloads } = document;
  const routes = mix.routes.map(({ route, ...group }) => ({ name: route, ...group }));
  const models = mix.models.map(({ model, ...group }) => ({ name: model, ...group }));
  const kinds = payloads === null || payloads.read === 0 ? [] : payloads.protocols;
  if (document.requests === 0) return [];
  return [
    sectionOf('arrivals', 'How requests arrive', [arrivalsTable(document), peaksTable(document)]),
    sectionOf('cycle', 'Daily and weekly cycle', [unusualTable(document)]),
    sectionOf('mix', 'What is asked', [
      groupTable('Routes', 'method and path with variable parts named', routes, shown),
      groupTable('Models', 'models as requests name them', models, shown),
      mixTable(document, shown),
      callsTable(document, shown),
    ]),
    sectionOf('payloads', 'What the payloads ask for', [
      ...kinds.map((kind) => payloadTable(kind, payloads?.complete === true ? 'every request' : 'a sample')),
      linksTable(document),
      reuseTable(document),
    ]),
    sectionOf('latency', 'Latency as recorded', [percentilesTable(document), inputSizesTable(document)]),
    sectionOf('trouble', 'What went wrong, and what is missing', [
      failuresTable(document),
      missingTable(document),
    ]),
  ];
}

const PERCENTILES = [...PERCENTILE_NAMES, 'max'];

/** `60` → `1 min`. */
function windowText(windowS: number): string {
  if (windowS < 60) return `${windowS} s`;
  return windowS < 3_600 ? `${windowS / 60} min` : `${windowS / 3_600} h`;
}

function peaksTable({ peaks, window }: ProfileDocument): Table | null {
  const timeZone = window?.timeZone ?? 'UTC';
  if (peaks.length === 0) return null;
  return {
    title: 'Peaks',
    unit: 'requests/s',
    source: 'windows side by side from the first arrival, the last and partial one left out',
    lookFor: 'how far peaks of a second, a minute and an hour exceed the mean',
    columns: columnsOf(['window'], ['requests', 'per second', 'times the mean', `from (${timeZone})`]),
    rows: peaks.map(({ windowS, requests, perSecond, toMean, from }) => [
      windowText(windowS),
      numberText(requests),
      numberText(perSecond),
      numberText(toMean),
      zonedTime(Date.parse(from), timeZone),
    ]),
  };
}

/** Rate, gaps and dispersion in numbers; a page draws them. */
function arrivalsTable({ rate, interArrival, idc, concurrency }: ProfileDocument): Table {
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

function groupTable(
  title: string,
  what: string,
  rows: readonly (GroupFigures & { readonly name: string | null })[],
  shown: number,
): Table {
  return {
    title: rows.length > shown ? `${title}: ${shown} of ${rows.length}` : title,
    unit: 'requests; latency in ms or s, of completed requests',
    source: `${what} as recorded, the largest first`,
    lookFor: 'which ones a test must contain; a small share may have a long p99',
    columns: columnsOf(['name'], ['requests', 'share', 'failed', 'mean request', ...PERCENTILES]),
    rows: rows
      .slice(0, shown)
      .map((group) => [
        group.name ?? 'not known',
        numberText(group.requests),
        shareText(group.share),
        numberText(group.failed),
        bytesText(group.meanRequestBytes === null ? null : Math.round(group.meanRequestBytes)),
        ...percentileCells(group.latencyMs, msText),
      ]),
  };
}

/** Days that break the cycle; null if there is none. */
function unusualTable({ cycle }: ProfileDocument): Table | null {
  const { days } = cycle.unusual;
  if (days.length === 0) return null;
  return {
    title: 'Days that break the cycle',
    unit: 'times the usual volume; share of requests at other hours',
    source: 'each day with at least six whole hours, held against the median of days like it',
    lookFor: 'launches, outages and holidays: leave them out of a window, or test them on purpose',
    columns: columnsOf(['day', 'breaks by', 'most at', 'compared with'], ['volume', 'at other hours']),
    rows: days.map((day) => [
      `${day.weekday} ${day.day}`,
      day.reasons.join(', '),
      `${hourText(day.hour)}: ${numberText(day.hourMean)}/s, usual ${numberText(day.hourUsual)}/s`,
      day.comparedWith,
      day.volumeRatio === null ? 'from nothing' : `${numberText(day.volumeRatio)} ×`,
      shareText(day.shapeDistance),
    ]),
  };
}

/** `7` → `07:00`. */
export function hourText(hour: number): string {
  return `${String(hour).padStart(2, '0')}:00`;
}

/** Statuses, sizes, duplicates and parties in numbers; a page draws them. */
function mixTable(document: ProfileDocument, shown: number): Table {
  const { mix, requestBytes, responseBytes, duplicateRatio, duplicateRatioExact, sessions, clients } =
    document;
  const statuses = mix.statuses
    .slice(0, shown)
    .map(({ status, share }) => `${status ?? 'none'} ${shareText(share)}`);
  const atFault = mix.statuses
    .filter(({ status }) => status !== null && isClientError(status))
    .reduce((sum, { share }) => sum + share, 0);
  const sizes = (distribution: Distribution) =>
    distribution.count === 0 ? 'not known' : percentileCells(distribution, bytesText).join(' / ');
  return {
    title: 'Mix',
    unit: `as named in each row; sizes as ${PERCENTILES.join(' / ')}`,
    source: 'statuses, bodies after transfer decoding, and keyed hashes made while recording',
    lookFor:
      '429 and 5xx: a replay that does not reproduce them is not the same test. Client errors (4xx): they cost the server little',
    columns: columnsOf(['measure', 'value'], []),
    rows: [
      ['statuses', statuses.join(', ') || NONE],
      ['client errors', shareText(atFault)],
      ['request bodies', sizes(requestBytes)],
      ['response bodies', sizes(responseBytes)],
      ['streamed answers', numberText(mix.streamed)],
      ['duplicates', `${shareText(duplicateRatio)}${duplicateRatioExact ? '' : ' (estimate)'}`],
      ['sessions', partyText(sessions)],
      ['clients', partyText(clients)],
    ],
  };
}

/** gRPC calls; null without any. */
function callsTable({ grpc, payloads }: ProfileDocument, shown: number): Table | null {
  if (grpc === undefined) return null;
  const { requests, share, statuses, requestMessages, responseMessages } = grpc;
  const counts = (distribution: Distribution) => percentileCells(distribution, numberText).join(' / ');
  const named = statuses.slice(0, shown).map((each) => `${each.status ?? 'none'} ${shareText(each.share)}`);
  const deadlines = payloads?.deadlineMs;
  return {
    title: 'gRPC calls',
    unit: `as named in each row; messages and deadlines as ${PERCENTILES.join(' / ')}`,
    source: 'statuses in trailers, prefixes of messages, and grpc-timeout where payloads were read',
    lookFor: 'deadlines near the latency: under more load such calls fail, and clients may retry them',
    columns: columnsOf(['measure', 'value'], []),
    rows: [
      ['calls', `${numberText(requests)}, ${shareText(share)} of the requests`],
      ['statuses', named.join(', ')],
      ['messages in a request', counts(requestMessages)],
      ['messages in an answer', counts(responseMessages)],
      ...(deadlines === undefined
        ? []
        : [
            [
              'deadlines',
              `${numberText(deadlines.count)} calls: ${percentileCells(deadlines, msText).join(' / ')}`,
            ],
          ]),
    ],
  };
}

function partyText({ requests, count, exact, topShares }: PartyFigures): string {
  if (requests === 0) return 'not known';
  const bound = exact ? '' : 'at least ';
  return `${exact ? '' : 'about '}${numberText(count)}; the busiest sent ${bound}${shareText(topShares.top1)}, the busiest ten ${bound}${shareText(topShares.top10)}`;
}

function percentilesTable({ latencyMs, firstByteMs, ttftMs }: ProfileDocument): Table | null {
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

function inputSizesTable({ latencyByInputSize, latencyMs }: ProfileDocument): Table | null {
  if (latencyMs.count === 0) return null;
  return {
    title: 'Latency by size of the input',
    unit: 'ms or s',
    source: 'completed requests by bytes of the request body, a class to each doubling',
    lookFor: 'where latency begins to grow with the input: from there on the mix of sizes matters',
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

function failuresTable({ errors, retries, payloads }: ProfileDocument): Table {
  const sayRetry = payloads === null ? null : numberText(payloads.sayRetry);
  return {
    title:
      errors.failed === null
        ? 'Failures and retries: how requests ended is not known'
        : 'Failures and retries',
    unit: 'requests',
    source: 'how exchanges ended, and their statuses',
    lookFor: 'retries after failures: they add load, and a replay repeats them',
    columns: columnsOf(['what'], ['requests']),
    rows: [
      [
        'failed (5xx, or no complete answer although the client waited)',
        `${numberText(errors.failed)} (${shareText(errors.failedShare)})`,
      ],
      ['5xx', numberText(errors.serverErrors)],
      ['4xx', numberText(errors.clientErrors)],
      ['of them 429', numberText(errors.tooManyRequests)],
      ['client aborted (not failed)', numberText(errors.clientAborted)],
      ['upstream failed', numberText(errors.upstreamFailed)],
      ['timed out', numberText(errors.timedOut)],
      ['2xx with an error or no result in its body', numberText(errors.answerErrors?.told ?? null)],
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

function missingTable({ coverage, coverageUnexplained, losses, omitted }: ProfileDocument): Table {
  const rows = (amounts: typeof losses.by | typeof omitted.by) =>
    Object.entries(amounts).map(([name, { exchanges, bytes }]) => [
      name,
      numberText(exchanges),
      bytesText(bytes),
    ]);
  const isWhole = losses.exchanges + omitted.exchanges + losses.bytes + omitted.bytes === 0;
  const nothing =
    losses.exact === false
      ? ['not known', numberText(null), bytesText(null)]
      : ['nothing', numberText(0), bytesText(0)];
  return {
    title: `Coverage: ${shareText(coverage)}`,
    unit: 'exchanges and bytes',
    source: 'the recorder’s account; coverage of the window, losses and omissions of the whole capture',
    lookFor: `a missing share (here ${shareText(coverageUnexplained)}): it makes every rate too low`,
    columns: columnsOf(['lost or left out'], ['exchanges', 'bytes']),
    rows: isWhole ? [nothing] : [...rows(losses.by), ...rows(omitted.by)],
  };
}

/** `limits reached: 3 long_body`; false if none was. */
function missedText(missed: NonNullable<ProfileDocument['links']>['missed']): string | false {
  const counts = Object.entries(missed).map(([limit, count]) => `${numberText(count)} ${limit}`);
  return counts.length > 0 && `limits reached: ${counts.join(', ')}`;
}

function linksTable({ links }: ProfileDocument): Table | null {
  if (links === undefined || links.links === 0) return null;
  return {
    title: `Values that the server issued: in ${numberText(links.linked)} of ${numberText(links.requests)} requests`,
    unit: 'values in requests',
    source: linesOf('strings that an answer of the same session had first', missedText(links.missed)).join(
      '; ',
    ),
    lookFor: 'ids that another server does not know: it answers them with 404 or 400',
    columns: columnsOf(['place in the answer', 'place in the request'], ['values']),
    rows: links.places.map((place) => [place.from, place.to, numberText(place.links)]),
  };
}

/** What a cache of prefixes could reuse, and did; null without prompts. */
function reuseTable({ reuse }: ProfileDocument): Table | null {
  if (reuse === undefined) return null;
  const { prompts, tokens, upperBound, beyondLimit, reported } = reuse;
  const isPart = upperBound === null && prompts > 0;
  return {
    title: 'Prompts: what a cache of prefixes can reuse',
    unit: 'share of the prompt tokens',
    source: linesOf(
      'prompts in the order of arrival, none before the window',
      isPart && 'only a part was examined: --payload-sample all gives the bound',
      beyondLimit > 0 && `limit reached: ${countOf(beyondLimit, 'later prompt')} not counted`,
    ).join('; '),
    lookFor:
      'a replay with other hits than recorded: its first tokens are earlier or later for that reason alone',
    columns: columnsOf(['what'], ['requests', 'prompt tokens', 'share']),
    rows: [
      [
        'upper bound: an earlier prompt begins with it',
        numberText(prompts),
        numberText(tokens),
        shareText(upperBound),
      ],
      ...(reported === null
        ? []
        : [
            [
              'reported by the server (cached tokens)',
              numberText(reported.answers),
              numberText(reported.promptTokens),
              shareText(reported.share),
            ],
          ]),
    ],
  };
}

/** Figures of the requests of one protocol. @param of a text that names the requests that were read */
function payloadTable(kind: PayloadKindFigures, of: string): Table {
  const row = (name: string, distribution: Distribution, text: (value: number | null) => string) => {
    const { count, mean, p50, p90, p99, max } = distribution;
    if (count === 0) return [];
    const values = [mean === null ? null : Number(mean.toPrecision(3)), p50, p90, p99, max];
    return [[name, numberText(count), ...values.map(text)]];
  };
  return {
    title: `${kind.protocol}: ${numberText(kind.requests)} requests, ${shareText(kind.share)}`,
    unit: 'as named in each row, over requests that state it',
    source: [`bodies of ${of}`, ...payloadNotes(kind)].join('; '),
    lookFor: 'the spread between p50 and p99: a test with mean inputs misses the slow requests',
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

/** Other facts about the requests of one protocol, besides sizes. */
function payloadNotes({ stream, tensors, images }: PayloadKindFigures): string[] {
  const shapes = tensors.shapes.slice(0, 8).map(({ shape, share }) => `${shape} ${shareText(share)}`);
  if (tensors.otherShapes > 0) shapes.push(`others ${numberText(tensors.otherShapes)}`);
  const formats = Object.entries(images.formats).map(([format, count]) => `${format} ${numberText(count)}`);
  return [
    ...(stream.asked === 0 ? [] : [`asked to be streamed: ${shareText(stream.share)}`]),
    ...(shapes.length === 0 ? [] : [`tensors: ${shapes.join(', ')}`]),
    ...(formats.length === 0 ? [] : [`images: ${formats.join(', ')}`]),
    ...(images.byAddress === 0 ? [] : [`images sent as an address: ${numberText(images.byAddress)}`]),
  ];
}

/** The percentiles and the maximum as cells of a table. */
function percentileCells(of: Distribution, text: (value: number | null) => string): string[] {
  return [...percentilesIn(of), of.max].map(text);
}

/** What is unusual, as sentences: peaks, burstiness, cycles, failures and completeness. */
export function findingsOf(document: ProfileDocument): string[] {
  if (document.requests === 0) return ['No request lies in the window.'];
  return [
    ...peakFindings(document),
    ...burstFindings(document),
    ...cycleFindings(document),
    ...mixFindings(document),
    ...healthFindings(document),
  ];
}

/** Random traffic hardly ever has a second so far above the mean, in standard deviations. */
const UNUSUAL_DEVIATIONS = 6;
/** The usual difference between day and night. */
const UNUSUAL_HOUR = 2;

function* peakFindings({ requests, rate }: ProfileDocument): Generator<string> {
  const { mean, peak1s, peakToMean1s, peakToMean1h } = rate;
  if (mean === null) yield `${countOf(requests, 'request')}: too few for a rate.`;
  else if (peak1s !== null && peak1s > Math.max(5, mean + UNUSUAL_DEVIATIONS * Math.sqrt(mean)))
    yield `The busiest second had ${peak1s} requests, ${numberText(peakToMean1s)} times the mean.`;
  if ((peakToMean1h ?? 0) >= UNUSUAL_HOUR)
    yield `The busiest hour had ${numberText(peakToMean1h)} times the mean rate.`;
}

/** From these on, gaps and counts differ from random (Poisson) traffic, where both are 1. */
const EVEN_CV = 0.8;
const BURSTY_CV = 1.3;
const SWINGING_IDC = 3;

function* burstFindings({ interArrival: { cv }, idc }: ProfileDocument): Generator<string> {
  if (cv !== null && (cv < EVEN_CV || cv > BURSTY_CV))
    yield `Gaps are ${cv < EVEN_CV ? 'more even' : 'burstier'} than random: CV ${numberText(cv)}.`;
  const slow = idc['60'] ?? idc['10'];
  if (slow !== null && slow > SWINGING_IDC)
    yield `Over ${idc['60'] === null ? '10 s' : 'minutes'} the rate swings far more than that of random traffic: index of dispersion ${numberText(slow)}.`;
}

function cycleFindings({ cycle }: ProfileDocument): string[] {
  return cycle.unusual.days.map((day) => {
    const volume =
      day.volumeRatio === null
        ? 'requests where other days have none'
        : `${numberText(day.volumeRatio)} times the requests of ${day.comparedWith}`;
    const shape = day.reasons.includes('shape')
      ? `, ${Math.round(day.shapeDistance * 100)} % of them at other hours`
      : '';
    return `${day.weekday} ${day.day} breaks the cycle: ${volume}${shape}; most at ${hourText(day.hour)} (${numberText(day.hourMean)}/s instead of ${numberText(day.hourUsual)}/s).`;
  });
}

function* mixFindings({ duplicateRatio, clients }: ProfileDocument): Generator<string> {
  if ((duplicateRatio ?? 0) > 0.05)
    yield `${shareText(duplicateRatio)} of the requests repeat an earlier one: a cache would see them.`;
  const { top1 } = clients.topShares;
  const [about, least] = clients.exact ? ['', ''] : ['about ', 'at least '];
  if (clients.count > 1 && (top1 ?? 0) > 0.2)
    yield `One client of ${about}${clients.count} sends ${least}${shareText(top1)} of the requests.`;
}

function* healthFindings({ errors, retries, coverage, losses }: ProfileDocument): Generator<string> {
  const { failed, failedShare, clientAborted, tooManyRequests, answerErrors } = errors;
  if ((failed ?? 0) > 0) yield `${countOf(failed ?? 0, 'request')} failed (${shareText(failedShare)}).`;
  if ((clientAborted ?? 0) > 0)
    yield `${countOf(clientAborted ?? 0, 'request')} ended because the client left: not counted as failed.`;
  if ((answerErrors?.told ?? 0) > 0)
    yield `${answerErrors?.told} of ${answerErrors?.answers} 2xx answers report an error, have no result, or are broken JSON.`;
  if ((tooManyRequests ?? 0) > 0) yield `${tooManyRequests} were turned away with 429.`;
  if ((retries.likely ?? 0) > 0) yield `${retries.likely} look like retries of one that failed.`;
  if (coverage !== null && coverage < 0.995)
    yield `The capture holds ${shareText(coverage)} of what was seen: true rates are higher.`;
  if (losses.exchanges > 0) yield `${losses.exchanges} exchanges were lost in the whole capture.`;
}
