import type { GroupFigures, PartyFigures, ProfileDocument } from '../../documents/profile.ts';
import { bars, columns } from './bars.ts';
import { figure, type TableColumn, table } from './figure.ts';
import { bytes, ms, number, percent, percentileCells, stepBars } from './profile-values.ts';

/** Rows that are shown of a list; the JSON document has all. */
const SHOWN = 25;

const GROUP_COLUMNS: readonly TableColumn[] = [
  { title: 'requests', kind: 'number' },
  { title: 'share', kind: 'number' },
  { title: 'failed', kind: 'number' },
  { title: 'mean request', kind: 'number' },
  { title: 'p50', kind: 'number' },
  { title: 'p95', kind: 'number' },
  { title: 'p99', kind: 'number' },
  { title: 'max', kind: 'number' },
];

/** Routes, models, statuses and sizes. */
export function mixSection({
  mix,
  requestBytes,
  responseBytes,
  duplicateRatio,
  requests,
}: ProfileDocument): string {
  if (requests === 0) return '';
  const groups = (title: string, what: string, rows: readonly (readonly [string | null, GroupFigures])[]) =>
    figure(
      {
        title,
        unit: 'requests; latency in ms or s, of completed requests',
        source: `${what} as recorded, the largest first${rows.length > SHOWN ? `; ${SHOWN} of ${rows.length}` : ''}`,
        lookFor: 'which of them a test must contain; a small share with a long p99 is what hurts',
      },
      table([{ title: 'name', kind: 'name' }, ...GROUP_COLUMNS], rows.slice(0, SHOWN).map(groupRow)),
    );
  const statuses = figure(
    {
      title: 'Statuses',
      unit: 'share of requests',
      source: 'status of the answer; none where there was no answer, or nobody saw it',
      lookFor: '429 and 5xx: a replay that does not reproduce them is not the same test',
    },
    bars(
      mix.statuses.slice(0, SHOWN).map(({ status, share, requests: count }) => ({
        label: `${status ?? 'none'}`,
        value: share,
        text: `${percent(share)} (${number(count)})`,
      })),
      'three',
    ),
  );
  const sizes = (title: string, shape: typeof requestBytes) =>
    shape.count === 0
      ? ''
      : figure(
          {
            title,
            unit: 'share of messages, by bytes (steps grow by 1.41)',
            source: 'bodies after transfer decoding, as recorded',
            lookFor: `more than one hump: different uses of one model. p50 ${bytes(shape.p50)}, p99 ${bytes(shape.p99)}, max ${bytes(shape.max)}`,
          },
          columns(
            stepBars(shape.shape, (value) => bytes(Math.round(value))),
            title,
          ),
        );
  return [
    groups(
      'Routes',
      'method and path with variable parts named',
      mix.routes.map((each) => [each.route, each]),
    ),
    groups(
      'Models',
      'models as requests name them',
      mix.models.map((each) => [each.model, each]),
    ),
    `<div class="pair">${statuses}${sizes('Request bodies', requestBytes)}${sizes('Response bodies', responseBytes)}</div>`,
    `<p class="soft">Duplicates: ${percent(duplicateRatio)} of the requests whose body is known repeat an earlier one to the same route.</p>`,
  ].join('');
}

function groupRow([name, group]: readonly [string | null, GroupFigures]): string[] {
  return [
    name ?? 'not known',
    number(group.requests),
    percent(group.share),
    number(group.failed),
    bytes(group.meanRequestBytes === null ? null : Math.round(group.meanRequestBytes)),
    ...percentileCells(group.latencyMs, ms),
  ];
}

/** Distribution of latency, and how it grows with the input. */
export function latencySection({
  latencyMs,
  firstByteMs,
  ttftMs,
  latencyByInputSize,
}: ProfileDocument): string {
  if (latencyMs.count === 0) return '';
  const spread = figure(
    {
      title: 'Time to the last byte',
      unit: 'share of completed requests, by ms (steps grow by 1.41)',
      source: 'the recorder: from a request’s first byte to its answer’s last',
      lookFor: `a long tail or a second hump. p50 ${ms(latencyMs.p50)}, p95 ${ms(latencyMs.p95)}, p99 ${ms(latencyMs.p99)}, max ${ms(latencyMs.max)}`,
    },
    columns(stepBars(latencyMs.shape, ms), 'distribution of latency', 'two'),
  );
  const parts = [
    ['last byte', latencyMs],
    ['first byte', firstByteMs],
    ['first token', ttftMs],
  ] as const;
  const percentiles = figure(
    {
      title: 'Percentiles',
      unit: 'ms or s',
      source: 'completed requests; the first token where answers are streams',
      lookFor: 'a first byte as late as the last: nothing is streamed, or something in between buffers',
    },
    table(
      [{ title: 'to the', kind: 'name' }, { title: 'requests', kind: 'number' }, ...GROUP_COLUMNS.slice(4)],
      parts
        .filter(([, distribution]) => distribution.count > 0)
        .map(([name, distribution]) => [
          name,
          number(distribution.count),
          ...percentileCells(distribution, ms),
        ]),
    ),
  );
  const bySize = figure(
    {
      title: 'Latency by size of the input',
      unit: 'ms or s',
      source: 'completed requests by bytes of the request body, a class to each doubling',
      lookFor: 'where latency begins to grow with the input: the mix of sizes matters beyond that',
    },
    table(
      [{ title: 'request body', kind: 'name' }, ...GROUP_COLUMNS.slice(0, 3), ...GROUP_COLUMNS.slice(4)],
      latencyByInputSize.map((group) => [
        `${bytes(group.fromBytes)} to ${bytes(group.toBytes)}`,
        number(group.requests),
        percent(group.share),
        number(group.failed),
        ...percentileCells(group.latencyMs, ms),
      ]),
    ),
  );
  return `<div class="pair">${spread}${percentiles}</div>${bySize}`;
}

/** Sessions and clients, and how unevenly they ask. */
export function partySection({ sessions, clients }: ProfileDocument): string {
  const one = (title: string, parties: PartyFigures) =>
    parties.requests === 0
      ? ''
      : figure(
          {
            title: `${title}: ${parties.exact ? '' : 'about '}${number(parties.count)}`,
            unit: `share of the requests that name one${parties.exact ? '' : ' (lower bounds: too many to count each)'}`,
            source: 'keyed hashes made while recording',
            lookFor: `a few who send most: scaling by sessions then goes in large steps. The busiest ten send ${parties.exact ? '' : 'at least '}${percent(parties.topShares.top10)}${parties.exact ? `; one sends p50 ${number(parties.requestsEach.p50)}, p99 ${number(parties.requestsEach.p99)} requests` : ''}`,
          },
          bars(
            parties.top.map(({ id, share, requests }, at) => ({
              label: id ?? `number ${at + 1}`,
              value: share,
              text: `${percent(share)} (${number(requests)})`,
            })),
            'four',
          ),
        );
  const both = one('Sessions', sessions) + one('Clients', clients);
  return both === '' ? '' : `<div class="pair">${both}</div>`;
}

/** Failures, retries, losses and coverage. */
export function troubleSection(document: ProfileDocument): string {
  const { errors, retries, losses, omitted, coverage, coverageUnexplained, payloads } = document;
  const failures = figure(
    {
      title: 'Failures and retries',
      unit: 'requests',
      source: 'how exchanges ended, and their statuses',
      lookFor: 'retries that follow failures: they are load of their own, and a replay repeats them',
    },
    table(
      [
        { title: 'what', kind: 'name' },
        { title: 'requests', kind: 'number' },
      ],
      [
        ['failed (no complete answer, or 5xx)', `${number(errors.failed)} (${percent(errors.failedShare)})`],
        ['5xx', number(errors.serverErrors)],
        ['4xx', number(errors.clientErrors)],
        ['of them 429', number(errors.tooManyRequests)],
        ['client aborted', number(errors.clientAborted)],
        ['upstream failed', number(errors.upstreamFailed)],
        ['timed out', number(errors.timedOut)],
        [`likely retries (same request within ${retries.windowS} s of its failure)`, number(retries.likely)],
        ...(payloads === null
          ? []
          : [['say of themselves that they are retries (of those looked into)', number(payloads.sayRetry)]]),
      ],
    ),
  );
  const rows = (amounts: typeof losses.by | typeof omitted.by) =>
    Object.entries(amounts).map(([name, { exchanges, bytes: size }]) => [
      name,
      number(exchanges),
      bytes(size),
    ]);
  const missing = figure(
    {
      title: `Coverage: ${percent(coverage)}`,
      unit: 'exchanges and bytes',
      source: 'the recorder’s account; coverage of the window, losses and omissions of the whole capture',
      lookFor: `a missing share (here ${percent(coverageUnexplained)}): what was seen and is not here makes every rate too low`,
    },
    table(
      [
        { title: 'lost or left out', kind: 'name' },
        { title: 'exchanges', kind: 'number' },
        { title: 'bytes', kind: 'number' },
      ],
      [...rows(losses.by), ...rows(omitted.by)].concat(
        losses.exchanges + omitted.exchanges + losses.bytes + omitted.bytes === 0
          ? [['nothing', '0', bytes(0)]]
          : [],
      ),
    ),
  );
  return `<div class="pair">${failures}${missing}</div>`;
}
