import { Command } from 'commander';
import { columnsOf, labelsText, tableLines } from '../../analysis/render/table.ts';
import { inspect } from '../../app/inspect.ts';
import { DayCalendar } from '../../core/calendar.ts';
import { isClientError } from '../../core/exchange.ts';
import { toggle, value } from '../../core/options.ts';
import { formatBytes, formatShare } from '../../core/units.ts';
import type { InspectDocument } from '../../storage/capture/inspect.ts';
import type { NamedCount } from '../../storage/capture/mix.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

/** Segments that the table shows from each end. `--json` has all of them. */
const SEGMENTS_SHOWN = 10;
const RECORDERS_SHOWN = 20;
const GAPS_SHOWN = 3;
const KILLED_SHOWN = 3;

const OPTIONS = {
  tz: value('--tz <zone>', 'time zone of the days', (zone) => new DayCalendar(zone), { default: 'UTC' }),
  json: toggle('--json', 'print one JSON document'),
};

/** `reprise inspect DIR...`: what captures hold and what they miss. */
export function inspectCommand(): Command {
  return addOptions(new Command('inspect'), OPTIONS)
    .description('show what a capture holds and what is missing')
    .argument('<capture...>', 'one or more captures, read as one')
    .action((directories: string[], _: object, command: Command) => {
      const options = optionsOf(command, OPTIONS);
      const document = inspect(directories, options.tz);
      if (options.json) terminal.json(document);
      else terminal.print(...textOf(document));
    });
}

function textOf(document: InspectDocument): string[] {
  return [
    ...factLines(document),
    ...(document.recorders.length > 0 ? ['', ...recorderLines(document)] : []),
    ...(document.days.length > 0 ? ['', ...dayLines(document)] : []),
    ...(document.segments.length > 0 ? ['', ...segmentLines(document)] : []),
  ];
}

function factLines(document: InspectDocument): string[] {
  const { bytes, truncated, omitted, expired, forgotten, encrypted, killed } = document;
  const isMissing = document.missing.exchanges !== 0 || document.withoutLog.length > 0;
  const rows: (readonly [string, string])[] = [
    ['capture', document.directories.join(', ')],
    ['source', document.origins.map(originText).join('; ') || 'nothing was recorded yet'],
    ['recorders', recorderText(document)],
    ['exchanges', String(document.exchanges)],
    ['arrivals', `${document.firstArrival ?? '–'} to ${document.lastArrival ?? '–'}`],
    ['outcomes', listText(document.outcomes)],
    ...mixRows(document),
    ...serverRows(document),
    ['request bodies', sizeText(bytes.request, truncated.requests)],
    ['response bodies', sizeText(bytes.response, truncated.responses)],
    ['on disk', formatBytes(bytes.disk)],
    ['lost', lostText(document)],
    ['omitted', amountText(omitted, omitted.byCause)],
    ['coverage', coverageText(document)],
    ...(isMissing ? [['missing', missingText(document)] as [string, string]] : []),
    ...(killed.length > 0 ? [['killed', killedText(document)] as [string, string]] : []),
    ['protocols', protocolText(document)],
    ['clock anchors', String(document.clockAnchors)],
  ];
  if (expired.segments > 0) {
    const { segments, exchanges, exact } = expired;
    const text = `${segments} segments, ${exchanges} exchanges, ${formatBytes(expired.bytes)}`;
    rows.push(['expired', exact ? text : `at least ${text}`]);
  }
  if (forgotten.exchanges > 0) {
    rows.push(['forgotten', `${forgotten.exchanges} exchanges (${formatBytes(forgotten.bytes)})`]);
  }
  if (encrypted.segments > 0) {
    const of = encrypted.segments === document.segments.length ? '' : ` of ${document.segments.length}`;
    const rest = of === '' ? '' : '; the others are in clear';
    rows.push([
      'encrypted',
      `${encrypted.segments}${of} segments, under ${encrypted.keys.join(', ')}${rest}`,
    ]);
  }
  if (document.duplicates.length > 0) {
    rows.push(['in several captures', `${document.duplicates.length} segments, counted once`]);
  }
  if (document.damaged.length > 0) rows.push(['damaged, set aside', document.damaged.join(', ')]);
  return tableLines(columnsOf(['', ''], []), rows).slice(1);
}

/** The first facts of the recorded servers. */
function serverRows({ serverDetails }: InspectDocument): (readonly [string, string])[] {
  const facts = Object.entries(serverDetails).flatMap(([place, names]) =>
    Object.entries(names).map(([name, values]) => `${place} ${name}: ${values.join(', ')}`),
  );
  const more = facts.length - NAMES_SHOWN;
  const shown = [
    ...facts.slice(0, NAMES_SHOWN),
    ...(more > 0 ? [`and ${more} more (--json shows them)`] : []),
  ];
  return shown.map((text, at) => [at === 0 ? 'server' : '', text]);
}

/** Names listed of each kind. `--json` has more. */
const NAMES_SHOWN = 6;

function mixRows({ mix, exchanges, segments }: InspectDocument): (readonly [string, string])[] {
  if (mix === undefined || mix.exchanges === 0) return [];
  const isSample = mix.exchanges < exchanges;
  const { answers, told } = mix.answerErrors;
  const atFault = mix.statuses
    .filter(({ name }) => name !== null && isClientError(Number(name)))
    .reduce((sum, { exchanges: times }) => sum + times, 0);
  const rowsOf = (title: string, counts: readonly NamedCount[]): [string, string][] => {
    const amounts = counts.map(({ exchanges: times }) =>
      isSample ? formatShare(times / mix.exchanges, 2) : String(times),
    );
    const width = Math.max(...amounts.map(({ length }) => length));
    const texts = counts.map(({ name }, at) => `${amounts[at]?.padStart(width)}  ${name ?? 'none'}`);
    const shown = texts.slice(0, NAMES_SHOWN);
    if (texts.length > shown.length)
      shown.push(`and ${texts.length - shown.length} more (--json shows them)`);
    return shown.map((text, at) => [at === 0 ? title : '', text]);
  };
  return [
    ...rowsOf('routes', mix.routes),
    ...rowsOf('models', mix.models),
    ...rowsOf('statuses', mix.statuses),
    ...rowsOf('gRPC statuses', mix.grpcStatuses),
    ...(atFault > 0
      ? [['client errors', `${formatShare(atFault / mix.exchanges)} were answered 4xx`] as const]
      : []),
    ...(told > 0 ? [['errors in a 2xx', `${told} of ${answers} answers that were looked at`] as const] : []),
    ...(mix.searched > 0
      ? [
          [
            'linked',
            `${mix.linked} of ${mix.searched} in sessions have values that an earlier answer issued`,
          ] as const,
        ]
      : []),
    ...(mix.traced > 0 ? [['traced', `${mix.traced} by their clients (trace_id)`] as const] : []),
    ...(isSample
      ? [
          [
            '',
            `(of ${mix.exchanges} exchanges drawn from ${mix.segments} of ${segments.length} segments)`,
          ] as const,
        ]
      : []),
  ];
}

function originText(origin: InspectDocument['origins'][number]): string {
  if (origin.kind === 'recorded') {
    const build = origin.labels === undefined ? '' : ` (${labelsText(origin.labels)})`;
    return `recorded in front of ${(origin.targets ?? [origin.target]).join(', ')}${build}`;
  }
  return `imported from ${origin.file}, ${origin.paired ? 'with requests' : 'arrivals alone'}`;
}

/** A recorder that paused has several lives, but is one member of the fleet. */
function recorderText({ recorders, recordersAtOnce, fleetSize }: InspectDocument): string {
  const names = recorders
    .slice(0, SEGMENTS_SHOWN)
    .map(({ id, host }) => (host === null ? `${id}, not here` : `${id} on ${host}`));
  const more = recorders.length > names.length ? ` and ${recorders.length - names.length} more` : '';
  const of = fleetSize === null ? '' : ` of a fleet of ${fleetSize}`;
  const count =
    of === '' || recordersAtOnce === recorders.length
      ? `${recorders.length}${of}`
      : `at most ${recordersAtOnce} at one time${of}, in ${recorders.length} lives`;
  return `${count}${names.length === 0 ? '' : `: ${names.join(', ')}${more}`}`;
}

function sizeText(bytes: number | null, truncated: number): string {
  if (bytes === null) return 'not known';
  return `${formatBytes(bytes)}${truncated > 0 ? ` (${truncated} not whole)` : ''}`;
}

function amountText(
  total: { readonly exchanges: number; readonly bytes: number },
  parts: Readonly<Record<string, { readonly exchanges: number; readonly bytes: number }>>,
): string {
  const names = Object.entries(parts).map(
    ([name, { exchanges, bytes }]) => `${name} ${exchanges} (${formatBytes(bytes)})`,
  );
  return names.length === 0 ? 'nothing' : `${total.exchanges} exchanges: ${names.join(', ')}`;
}

/** The sum lacks losses that were recorded in expired segments, because they expired too. */
function lostText({ losses, expired }: InspectDocument): string {
  const { uncountedAtMost, exact } = losses;
  const more =
    uncountedAtMost === null ? '; how much more is unknown' : `, and at most ${uncountedAtMost} more`;
  const text = `${amountText(losses, losses.byReason)}${exact ? '' : more}`;
  return expired.segments > 0 ? `${text}; without what the expired segments recorded as lost` : text;
}

const UNKNOWN_BECAUSE: Readonly<
  Record<NonNullable<InspectDocument['killed'][number]['unknownBecause']>, string>
> = {
  older_account: 'nor how much: its account is of an older version',
  account_elsewhere: 'nor how much: a newer account may be on the host that recorded (inspect it there)',
  one_place: 'nor how much: its account was in one place only',
};

/** A killed recording does not count its last exchanges. */
function killedText({ killed }: InspectDocument): string {
  const texts = killed.slice(-KILLED_SHOWN).map(({ startedAt, knownUntil, foundAt, unknownBecause }) => {
    const until = foundAt === null ? '' : ` until ${millisecondText(foundAt)}`;
    return `the recording started ${minuteText(startedAt)}: nothing is known of what passed after ${millisecondText(knownUntil)}${until}${unknownBecause === null ? '' : `, ${UNKNOWN_BECAUSE[unknownBecause]}`}`;
  });
  const more =
    killed.length > texts.length ? [`${killed.length - texts.length} before (--json shows all)`] : [];
  return [...texts, ...more].join('; ');
}

/** What was recorded and is not here, by recorder. */
function missingText({ missing, recorders, withoutLog }: InspectDocument): string {
  const of = recorders.flatMap(({ id, host, gaps }) =>
    gaps
      .filter(({ kind }) => kind === 'missing' || kind === 'damaged')
      .map(({ from, to, exchanges }) => {
        const where = host === null ? `recorder ${id}` : `recorder ${id} on ${host}`;
        const until = to === null ? '' : ` to ${minuteText(to)}`;
        return `${exchanges ?? 'an unknown number'} of ${where}, ${minuteText(from)}${until}`;
      }),
  );
  const shown = of.slice(0, GAPS_SHOWN);
  if (of.length > shown.length) shown.push(`${of.length - shown.length} more (--json shows all)`);
  const total =
    missing.exchanges === null ? 'exchanges, how many is unknown' : `${missing.exchanges} exchanges`;
  const logs = withoutLog.map((file) => `; ${file} is not sealed and without its write-ahead log`);
  return `${total}: ${shown.join('; ')}${logs.join('')}`;
}

function coverageText(document: InspectDocument): string {
  const { coverage, coverageAtLeast, coverageIsAtMost, unexplained, origins, omitted } = document;
  const { unreadableAccounts, missing } = document;
  if (origins.some(({ kind }) => kind === 'imported'))
    return 'not known: what an imported file left out is not counted';
  if (unreadableAccounts.length > 0)
    return `not known: what ${unreadableAccounts.join(', ')} saw is in an account that cannot be read`;
  // Rounding must not turn a share below 1 into 100 %.
  const share = (value: number) => `${((value < 1 ? Math.min(value, 0.9999) : value) * 100).toFixed(2)} %`;
  const least = coverageIsAtMost && coverageAtLeast !== null ? `, at least ${share(coverageAtLeast)}` : '';
  const partial = missing.exchanges === null;
  if (coverage === null || unexplained === null) {
    if (partial) return 'not known: segments are missing, and what they held is unknown';
    return least === '' ? '–' : `not known${least}`;
  }
  // Exchanges that a killed recording would have omitted by sampling count as lost.
  const known = (omitted.byCause.sampled_out?.exchanges ?? 0) > 0 ? 'about ' : 'at most ';
  const most = coverageIsAtMost ? known : '';
  const rest = unexplained > 0.00005 ? `, ${share(unexplained)} missing` : '';
  // The number of exchanges in unparsed bytes is unknown too.
  const unread = omitted.byCause.unparsed?.bytes ?? 0;
  const of = [
    ...(unread > 0 ? [`of what was read as exchanges: ${formatBytes(unread)} were not`] : []),
    ...(partial ? ['of what is here: segments are missing'] : []),
  ];
  return [`${most}${share(coverage)}${least || rest}`, ...of].join(', ');
}

function protocolText({ protocols }: InspectDocument): string {
  const texts = Object.entries(protocols).map(
    ([name, { connections, bytes }]) => `${name} ${connections} connections (${formatBytes(bytes)})`,
  );
  return texts.join(', ') || '–';
}

function listText(counts: Readonly<Record<string, number | null>>): string {
  const texts = Object.entries(counts)
    .filter(([, count]) => count !== null && count > 0)
    .map(([name, count]) => `${name} ${count}`);
  return texts.join(', ') || '–';
}

function recorderLines({ recorders }: InspectDocument): string[] {
  const hidden = recorders.length - RECORDERS_SHOWN;
  const rows = recorders
    .slice(0, RECORDERS_SHOWN)
    .map((recorder) => [
      recorder.id,
      recorder.host ?? '–',
      minuteText(recorder.startedAt),
      recorder.endedAt === null ? recorder.end : `${minuteText(recorder.endedAt)} ${recorder.end}`,
      String(recorder.exchanges),
      gapText(recorder.gaps),
    ]);
  return tableLines(
    [
      ...columnsOf(['recorder', 'host', 'started (UTC)', 'ended (UTC)'], ['exchanges']),
      ...columnsOf(['gaps'], []),
    ],
    hidden > 0 ? [...rows, [`… ${hidden} more (--json shows all)`]] : rows,
  );
}

function gapText(gaps: InspectDocument['recorders'][number]['gaps']): string {
  const shown = gaps.slice(0, GAPS_SHOWN).map(({ kind, from, to }) => {
    return `${kind} ${minuteText(from)} to ${to === null ? '…' : minuteText(to)}`;
  });
  const more = gaps.length > shown.length ? ` and ${gaps.length - shown.length} more` : '';
  return shown.length === 0 ? 'none' : `${shown.join(', ')}${more}`;
}

/** `2026-11-24T15:00:00.000000Z` as `2026-11-24 15:00:00`. */
function minuteText(instant: string): string {
  return instant.slice(0, 19).replace('T', ' ');
}

/** `2026-11-24T15:00:00.000000Z` as `2026-11-24 15:00:00.000`. */
function millisecondText(instant: string): string {
  return instant.slice(0, 23).replace('T', ' ');
}

function dayLines({ days, timeZone }: InspectDocument): string[] {
  return tableLines(
    columnsOf([`day (${timeZone})`], ['exchanges', 'bodies']),
    days.map(({ day, exchanges, bytes }) => [
      day,
      String(exchanges),
      bytes === null ? '–' : formatBytes(bytes),
    ]),
  );
}

function segmentLines({ segments }: InspectDocument): string[] {
  const hidden = segments.length - 2 * SEGMENTS_SHOWN;
  const row = ({ file, sealed, exchanges, bytes }: InspectDocument['segments'][number]) => [
    file,
    sealed ? 'sealed' : 'open',
    String(exchanges),
    formatBytes(bytes),
  ];
  const shown = segments.map(row);
  if (hidden > 0) shown.splice(SEGMENTS_SHOWN, hidden, [`… ${hidden} more (--json shows all)`]);
  return tableLines(columnsOf(['segment', 'state'], ['exchanges', 'on disk']), shown);
}
