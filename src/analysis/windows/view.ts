import { zonedTime } from '../../core/calendar.ts';
import { linesOf, shellWord } from '../../core/text.ts';
import { countOf, formatMs, percent } from '../../core/units.ts';
import type { HardestIn, RankedWindow, RankedWindowsDocument } from '../../documents/ranked-windows.ts';
import { sparkline } from '../history/view.ts';
import { heatMap } from '../render/charts.ts';
import {
  escaped,
  figure,
  findings,
  type PageAssets,
  page,
  plainBanner,
  section,
  tableHtml,
  tilesOf,
} from '../render/html.ts';
import {
  bytesText,
  columnsOf,
  msText,
  NONE,
  numberText,
  shareText,
  type Table,
  tableText,
} from '../render/table.ts';
import { isOfMix } from './build-document.ts';

/** Days that the text draws; the page draws all. */
const MOST_DAYS = 35;
/** Dimensions that are named in the sentence about a window; the table has all. */
const MOST_NAMED = 4;
/** Lengths that are proposed for a recording shorter than a window. */
const SHORTER = { '15m': 900, '5m': 300, '1m': 60, '10s': 10, '1s': 1 };
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const LEAST_HOURS = 24;

/** The hardest windows as lines of text. They contain recorded names, so escape them for printing. */
export function windowsText(document: RankedWindowsDocument): string[] {
  const notes = notesOf(document);
  return [
    `Windows of ${document.capture}`,
    `  ${spanText(document)}`,
    '',
    ...chosenLines(document).map((line) => `  ${line}`),
    ...(notes.length === 0 ? [] : ['', 'Notes', ...notes.map((note) => `  ${note}`)]),
    '',
    ...tableText(windowsTable(document), 'brief'),
    '',
    ...tableText(dimensionsTable(document), 'brief'),
    ...calendarLines(document),
  ];
}

/** The hardest windows as a page: what was chosen, the calendar, then the tables. */
export function windowsPage(document: RankedWindowsDocument, assets: PageAssets): string {
  const { timeZone, windows, capture } = document;
  const [chosen] = windows;
  const headline = isShorterThanWindow(document)
    ? shorterText(document)
    : chosen === undefined
      ? 'No window'
      : `${rangeText(chosen, timeZone)} is the hardest window of ${capture}`;
  const tables = [windowsTable(document), dimensionsTable(document)];
  const notes = notesOf(document);
  const body = [
    plainBanner('Hardest windows', headline, `<p class="lead">${escaped(spanText(document))}</p>`, timeZone),
    tilesOf([
      {
        label: 'harder than',
        value: rankText(document, chosen?.harderThan),
        note: `of ${windowsOf(document)}`,
      },
      ...document.hardest.flatMap((each, at) =>
        isOfMix(each)
          ? []
          : [
              {
                label: dimensionText(each, document),
                value: valueText(each, chosen?.values[at] ?? null),
                note: `most in any window: ${valueText(each, each.most)}`,
              },
            ],
      ),
    ]),
    section('What was chosen', findings(chosenLines(document).map((line) => line.trim()))),
    section('What limits this', notes.length === 0 ? '' : findings(notes)),
    section('When', calendarFigure(document)),
    section('Figures', tables.map((table) => figure(table, tableHtml(table))).join('')),
  ];
  return page({ title: `Hardest windows: ${capture}`, body, charts: [], timeZone }, assets);
}

function chosenLines(document: RankedWindowsDocument): string[] {
  const { windows, timeZone, server, capture } = document;
  const [chosen] = windows;
  const mix = windows.find(({ chosenFor }) => chosenFor === 'mix');
  if (chosen === undefined) return [];
  if (isShorterThanWindow(document))
    return [
      `${shorterText(document)}: none is harder than another`,
      `To rank shorter windows: reprise windows ${shellWord(capture)} --length ${shorterLength(document)}`,
    ];
  const lacking = lackingIn(document, chosen);
  const wait = chosen.values[document.hardest.findIndex(({ dimension }) => dimension === 'wait')] ?? 0;
  const named = lacking
    .slice(0, MOST_NAMED)
    .map((each) => `${dimensionText(each, document)} (${timeText(each.from, timeZone)})`);
  const rest = lacking.length - named.length;
  const verb = document.unstored === document.requests ? 'plan' : 'replay';
  const covered =
    mix === undefined
      ? []
      : lacking.filter((each) => isOfMix(each) && each.share < shareIn(document, mix, each));
  return linesOf(
    `The hardest: ${rangeText(chosen, timeZone)}, harder than ${shareText(chosen.harderThan)} of ${windowsOf(document)}`,
    server !== null &&
      `  at ${server.multiplier}x its requests wait ${msText(wait * 1e3)} on average in the queue of the recorded server: ${countOf(server.executors, 'executor')}, fitted to ${countOf(server.requests, 'request')}`,
    named.length > 0 && `  not the hardest in: ${named.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`,
    mix !== undefined &&
      `For the payload mix: ${rangeText(mix, timeZone)}, harder than ${shareText(mix.harderThan)}`,
    mix !== undefined &&
      covered
        .slice(0, MOST_NAMED)
        .map(
          (each) =>
            `  ${dimensionText(each, document)}: ${shareText(shareIn(document, mix, each))} of the most in any window; the hardest has ${shareText(each.share)}`,
        ),
    `To ${verb} the hardest: reprise replay ${shellWord(capture)} --window ${chosen.from}..${chosen.to}${verb === 'plan' ? ' --dry-run' : ''}`,
    mix !== undefined && `To ${verb} both: add --window ${mix.from}..${mix.to}`,
  );
}

/** The dimensions in which another window has more, with the share that this one has. The least shares come first. */
function lackingIn(
  document: RankedWindowsDocument,
  window: RankedWindow,
): (HardestIn & { readonly share: number })[] {
  return document.hardest
    .map((each) => ({ ...each, share: shareIn(document, window, each) }))
    .filter(({ share }) => share < 1)
    .sort((a, b) => a.share - b.share);
}

function shareIn({ hardest }: RankedWindowsDocument, { values }: RankedWindow, of: HardestIn): number {
  const at = hardest.findIndex(
    ({ dimension, subject }) => dimension === of.dimension && subject === of.subject,
  );
  return (values[at] ?? 0) / of.most;
}

function windowsTable(document: RankedWindowsDocument): Table {
  const { windows, timeZone, hardest } = document;
  const shown = hardest.flatMap((each, at) => (isOfMix(each) ? [] : [{ each, at }]));
  return {
    title: 'Hardest windows',
    unit: 'as named in each column',
    source: 'every row of the capture, and a queue fitted to it',
    lookFor: 'whether they lie in one busy day or in every week',
    columns: columnsOf(
      [`window (${timeZone})`],
      ['harder than', ...shown.map(({ each }) => dimensionText(each, document))],
    ),
    rows: windows.map((window) => [
      `${rangeText(window, timeZone)}${window.chosenFor === 'mix' ? ' (mix)' : ''}`,
      rankText(document, window.harderThan),
      ...shown.map(({ each, at }) => valueText(each, window.values[at] ?? null)),
    ]),
  };
}

function dimensionsTable(document: RankedWindowsDocument): Table {
  const { windows, timeZone, hardest } = document;
  return {
    title: 'What the hardest window has of each kind of load',
    unit: 'as named in each row',
    source: 'every row of the capture',
    lookFor: 'a small share: the hardest window does not test that',
    columns: columnsOf(['load'], ['in the hardest', 'most in any', 'share', `there (${timeZone})`]),
    rows: hardest.map((each, at) => [
      dimensionText(each, document),
      valueText(each, windows[0]?.values[at] ?? null),
      valueText(each, each.most),
      shareText((windows[0]?.values[at] ?? 0) / each.most),
      timeText(each.from, timeZone),
    ]),
  };
}

function dimensionText({ dimension, subject }: HardestIn, { server }: RankedWindowsDocument): string {
  switch (dimension) {
    case 'wait':
      return `wait at ${server?.multiplier ?? NONE}x`;
    case 'work':
      return 'busy executors at 1x';
    case 'requests':
      return 'requests/s';
    case 'burst':
      return 'busiest second';
    case 'promptTokens':
      return 'prompt tokens/s';
    case 'outputTokens':
      return 'output tokens/s';
    case 'requestBytes':
      return 'request bytes/s';
    default:
      return `${dimension} ${subject ?? NONE}`;
  }
}

function valueText({ dimension }: HardestIn, value: number | null): string {
  if (value === null) return NONE;
  if (dimension === 'wait') return msText(value * 1e3);
  if (dimension === 'requestBytes') return bytesText(Math.round(value));
  return numberText(dimension === 'burst' ? value : Number(value.toPrecision(3)));
}

function spanText(document: RankedWindowsDocument): string {
  const { from, to, timeZone, days, requests } = document;
  return `${timeText(from, timeZone)} to ${timeText(to, timeZone)} ${timeZone} (${daysText(days)}), ${many(requests, 'request')}${isShorterThanWindow(document) ? '' : ` in ${windowsOf(document)}`}`;
}

/** Whether less was recorded than a window is long, so that no window can be compared with another. */
export function isShorterThanWindow({
  days,
  lengthS,
}: Pick<RankedWindowsDocument, 'days' | 'lengthS'>): boolean {
  return days * 86_400 < lengthS;
}

export function shorterText({ lengthS }: Pick<RankedWindowsDocument, 'lengthS'>): string {
  return `The recording is shorter than one window of ${lengthText(lengthS)}`;
}

/** The longest proposed length that the recording has twice. */
export function shorterLength({ days }: Pick<RankedWindowsDocument, 'days'>): string {
  const found = Object.entries(SHORTER).find(([, lengthS]) => 2 * lengthS <= days * 86_400);
  return found?.[0] ?? '1s';
}

function rankText(document: RankedWindowsDocument, harderThan: number | undefined): string {
  return isShorterThanWindow(document) ? NONE : shareText(harderThan);
}

function daysText(days: number): string {
  return days < 2 ? formatMs(days * 86_400e3) : `${Number(days.toFixed(1))} days`;
}

/** `1,342 windows of 15 min`. */
function windowsOf({ compared, lengthS }: RankedWindowsDocument): string {
  return `${many(compared, 'window')} of ${lengthText(lengthS)}`;
}

function lengthText(lengthS: number): string {
  return formatMs(lengthS * 1e3).replace('.0 ', ' ');
}

/** `1,342 windows`. */
function many(count: number, noun: string): string {
  return countOf(count, noun).replace(String(count), numberText(count));
}

/** `2026-11-03 14:15`. */
function timeText(instant: string, timeZone: string): string {
  return zonedTime(Date.parse(instant), timeZone).replace(/:00$/, '');
}

/** `2026-11-03 14:15 to 14:30`; both with seconds if one has them. */
function rangeText({ from, to }: Pick<RankedWindow, 'from' | 'to'>, timeZone: string): string {
  const whole = [from, to].map((instant) => zonedTime(Date.parse(instant), timeZone));
  const isInMinutes = whole.every((time) => time.endsWith(':00'));
  const [begin = '', end = ''] = isInMinutes ? whole.map((time) => time.slice(0, -3)) : whole;
  return `${begin} to ${begin.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end}`;
}

/** A limit of what was recorded or compared. */
export interface WindowsNote {
  readonly code: string;
  readonly text: string;
}

/** What limits the choice of a window. */
export function windowsNotes(document: RankedWindowsDocument): WindowsNote[] {
  const { server, multiplier, longestSilence, silentS, timeZone, empty, otherNames } = document;
  const { coverage, recordersMissing, unstored } = document;
  const texts: Readonly<Record<string, string | false>> = {
    less_than_a_month:
      !document.isMonth &&
      `${daysText(document.days)} of traffic: less than the 14 days that can stand for a month`,
    silence:
      longestSilence !== null &&
      `${formatMs(silentS * 1e3)} in periods of an hour or more without a request, the longest from ${rangeText(longestSilence, timeZone)}: no traffic, or nothing was recorded (reprise inspect)`,
    empty_windows: empty > 0 && `${many(empty, 'window')} without a request: not compared`,
    coverage_unknown:
      coverage === null && 'coverage is unknown, so harder windows may not have been recorded',
    coverage:
      coverage !== null &&
      coverage < 1 &&
      `${document.coverageIsAtLeast ? 'at least ' : ''}${percent(coverage)} of the traffic was recorded: windows were harder than they look, and one that was recorded less may be the hardest`,
    recorders_missing:
      (recordersMissing ?? 0) > 0 &&
      `${countOf(recordersMissing ?? 0, 'recorder')} of the fleet missing: their part of each window is unknown`,
    not_stored:
      unstored > 0 && `${many(unstored, 'request')} not stored whole: they can be planned, not sent`,
    server_unknown:
      server === null &&
      `too few latencies were recorded to fit a server. The hardest window is the one that is hard whether a server needs time for requests, for tokens of prompts or for tokens of answers`,
    server_open:
      server?.isOpen === true &&
      `requests hardly waited while they were recorded, so the server may have more than ${countOf(server.executors, 'executor')}: waits may be shorter, and other windows the hardest`,
    compared_higher:
      server !== null &&
      server.multiplier > multiplier &&
      `hardly a request waits at ${multiplier}x, so windows were compared at ${server.multiplier}x`,
    other_names:
      otherNames > 0 && `${many(otherNames, 'request')} of further models or routes: not compared by name`,
  };
  return Object.entries(texts).flatMap(([code, text]) => (text === false ? [] : [{ code, text }]));
}

function notesOf(document: RankedWindowsDocument): string[] {
  return windowsNotes(document).map(({ text }) => text);
}

/** Days in rows, with the requests of each hour, and the positions of the listed windows. */
interface Calendar {
  readonly days: readonly string[];
  /** 24 for each day; null for hours without a request. */
  readonly values: readonly (number | null)[];
  /** What was chosen, by its position in `values`. */
  readonly marks: ReadonlyMap<number, string>;
}

function calendarOf({ hours, timeZone, windows }: RankedWindowsDocument): Calendar {
  const cells = new Map<string, number>();
  const cellOf = (ms: number) => zonedTime(ms, timeZone).slice(0, 13);
  for (const [at, second] of hours.at.entries()) {
    const cell = cellOf(second * 1e3);
    cells.set(cell, (cells.get(cell) ?? 0) + (hours.requests[at] ?? 0));
  }
  const known = [...cells.keys()].map((cell) => cell.slice(0, 10)).sort();
  const days: string[] = [];
  const lastMs = Date.parse(`${known.at(-1)}T00:00Z`);
  for (let ms = Date.parse(`${known[0]}T00:00Z`); ms <= lastMs; ms += 86_400_000) {
    days.push(new Date(ms).toISOString().slice(0, 10));
  }
  const [chosen] = windows;
  const marks = new Map<number, string>();
  for (const window of windows) {
    if (window !== chosen && window.chosenFor === 'hardness') continue;
    const [day = '', hour = ''] = cellOf(Date.parse(window.from)).split(' ');
    const at = days.indexOf(day) * 24 + Number(hour);
    const name = `${rangeText(window, timeZone).slice(11)} ${window === chosen ? 'the hardest' : 'for the payload mix'}`;
    marks.set(at, marks.has(at) ? `${marks.get(at)}, ${name}` : name);
  }
  const values = days.flatMap((day) =>
    HOURS.map((hour) => cells.get(`${day} ${String(hour).padStart(2, '0')}`) ?? null),
  );
  return { days, values, marks };
}

function weekday(day: string): string {
  return new Date(`${day}T00:00Z`).toLocaleDateString('en', { weekday: 'short', timeZone: 'UTC' });
}

function calendarLines(document: RankedWindowsDocument): string[] {
  const { days, values, marks } = calendarOf(document);
  if (document.hours.at.length < LEAST_HOURS || days.length > MOST_DAYS) return [];
  const most = values.reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
  return [
    '',
    `Requests by hour (${document.timeZone}), from 0 to ${numberText(most)}`,
    `                  ${HOURS.map((hour) => (hour % 6 === 0 ? String(hour).padEnd(6) : '')).join('')}`.trimEnd(),
    ...days.map((day, row) => {
      const of = [...marks].filter(([at]) => Math.floor(at / 24) === row).map(([, name]) => name);
      const bars = sparkline(values.slice(row * 24, row * 24 + 24), [0, most]);
      return `  ${weekday(day)} ${day}  ${bars}${of.length === 0 ? '' : `  < ${of.join('; ')}`}`;
    }),
  ];
}

/** The weeks as a map of hours, with the chosen windows framed; empty for less than a day. */
export function calendarFigure(document: RankedWindowsDocument): string {
  const { days, values, marks } = calendarOf(document);
  if (document.hours.at.length < LEAST_HOURS) return '';
  return figure(
    {
      title: 'Calendar of hours',
      unit: 'requests',
      source: `arrivals by hour of ${document.timeZone}; the framed hours have the chosen windows`,
      lookFor: 'days that differ from the others, and hours that were not recorded',
    },
    heatMap({
      rows: days.map((day) => `${weekday(day)} ${day}`),
      columns: HOURS.map((hour) => (hour % 3 === 0 ? String(hour) : '')),
      values,
      text: (value) => many(value, 'request'),
      description: `requests by day and hour; framed: ${[...marks.values()].join(', ')}`,
      labelWidth: 100,
      marks,
    }),
  );
}
