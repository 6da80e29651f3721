import type { RecorderStatus, StatusTally } from '../../core/accounting.ts';
import type { SecondsHistogram } from '../../core/histogram.ts';
import { shellWord, type Tone } from '../../core/text.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import type { Tile } from '../render/html.ts';
import { columnsOf, NONE, numberText, shareText } from '../render/table.ts';
import { MANY_CLIENT_ERRORS, MANY_FAILURES, statusTone } from './answers.ts';
import { Course } from './course.ts';
import { chartsOf, type LiveChartRow, type LiveFact, type LiveTable, type LiveView } from './page.ts';

export const RECORDER_TITLE = 'Recorder';
/** Statuses and times cover this many of the last seconds. */
const RECENT_S = 60;
const STATES = {
  HEALTHY: { tone: 'good', word: 'recording' },
  SHEDDING: { tone: 'warn', word: 'shedding' },
  OFF: { tone: 'bad', word: 'not recording' },
  FAILED: { tone: 'bad', word: 'failed' },
} as const;
/** The recorder ends segments when the disk that it may use is full. */
const NEARLY_FULL = 0.9;

/** After a longer pause, earlier readings are discarded. */
const SILENCE_US = 5_000_000;

const CHARTS: readonly LiveChartRow[] = [
  {
    ...{ key: 'rates', title: 'Recorded exchanges', unit: 'requests/s', of: 'rates' },
    lines: [
      { label: '2xx, 3xx', of: 'good', colour: 'good' },
      { label: '4xx', of: 'warn', colour: 'warn' },
      { label: '5xx or no answer', of: 'bad', colour: 'bad' },
    ],
  },
  {
    ...{ key: 'bytes', title: 'Bytes', unit: 'bytes/s', of: 'rates' },
    lines: [
      { label: 'seen', of: 'seen' },
      { label: 'recorded', of: 'recorded' },
    ],
  },
  {
    ...{ key: 'latency', title: 'Latency', unit: 'ms', of: 'levels' },
    note: 'Of the last minute at most. The recorder counts in classes, so these are upper bounds.',
    lines: PERCENTS.map((percent) => ({ label: `p${percent}`, of: `p${percent}` })),
  },
  {
    ...{ key: 'missing', title: 'Not recorded', unit: 'requests/s', of: 'rates' },
    lines: [
      { label: 'lost', of: 'lost', colour: 'bad' },
      { label: 'left out on purpose', of: 'omitted', colour: 'soft' },
    ],
  },
];

/** Shows a recorder by its statuses, one each second. Memory is bounded. */
export class RecorderWatch {
  /** Of the last minute. */
  #readings: RecorderStatus[] = [];
  #course = new Course();

  /** After a restart of the recorder or a pause, it begins again with this reading. */
  add(status: RecorderStatus): void {
    const last = this.#readings.at(-1) ?? status;
    if (last.startedUs !== status.startedUs || status.atUs - last.atUs > SILENCE_US) {
      this.#readings = [];
      this.#course = new Course();
    } else if (last !== status && status.atUs <= last.atUs) return;
    const before = this.#readings.at(-1);
    this.#readings.push(status);
    if (this.#readings.length > RECENT_S + 1) this.#readings.shift();
    if (before === undefined) return;
    this.#course.add({
      atS: status.atUs / 1e6,
      spanS: (status.atUs - before.atUs) / 1e6,
      counts: growthIn(countsOf(status), countsOf(before)),
      levels: levelsOf(status, this.#readings[0] ?? null),
    });
  }

  /** Null before the first reading. */
  view(): LiveView | null {
    const status = this.#readings.at(-1);
    if (status === undefined) return null;
    const first = this.#readings[0] ?? status;
    const before = first === status ? null : first;
    const { word } = STATES[status.state];
    const traffic = trafficOf(status, before);
    const isFine = STATES[status.state].tone === 'good';
    return {
      title: RECORDER_TITLE,
      state: status.state,
      tone: isFine && traffic.tone !== 'good' ? 'warn' : STATES[status.state].tone,
      word: status.draining ? `${word}, draining` : word,
      sentence: sentenceOf(status, traffic.trouble),
      about: aboutOf(status),
      progress: null,
      tiles: tilesOf(status, before, traffic),
      charts: this.#course.at.length === 0 ? [] : chartsOf(CHARTS, this.#course),
      facts: factsOf(status),
      tables: [
        statusTable(status, before),
        ...tallyTable('Lost, by reason', 'lost', status.lost),
        ...tallyTable('Left out on purpose, by cause', 'omitted', status.omitted),
        ...recentTable(status),
      ],
    };
  }
}

/** Counters since the start, by the lines of the charts. */
function countsOf({ traffic, seen, recorded, lost, omitted }: RecorderStatus): Record<string, number> {
  const answers = { good: 0, warn: 0, bad: 0 };
  for (const { codeClass, count } of traffic.requests) answers[statusTone(codeClass) ?? 'bad'] += count;
  return {
    ...answers,
    seen: seen.bytes,
    recorded: recorded.bytes,
    lost: turnsOf(lost),
    omitted: turnsOf(omitted),
  };
}

function turnsOf(tallies: Readonly<Partial<Record<string, StatusTally>>>): number {
  return Object.values(tallies).reduce((sum, tally) => sum + (tally?.turns ?? 0), 0);
}

function growthIn(now: Record<string, number>, before: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(now).map(([name, count]) => [name, Math.max(0, count - (before[name] ?? 0))]),
  );
}

/** The time that statuses and latencies cover: the last minute, less while the page is new, or all if it has one reading. */
function recentText({ atUs }: RecorderStatus, before: RecorderStatus | null): string {
  if (before === null) return 'since the start';
  const seconds = Math.round((atUs - before.atUs) / 1e6);
  return seconds >= RECENT_S - 1 ? 'last minute' : `last ${seconds} s`;
}

/** How the answers of that time are. */
interface TrafficState {
  readonly tone: Tone;
  readonly clientErrors: number | null;
  readonly failures: number | null;
  readonly trouble: string;
}

function trafficOf(status: RecorderStatus, before: RecorderStatus | null): TrafficState {
  const { good = 0, warn = 0, bad = 0 } = growthIn(countsOf(status), before === null ? {} : countsOf(before));
  const all = good + warn + bad;
  if (all === 0) return { tone: 'good', clientErrors: null, failures: null, trouble: '' };
  const [clientErrors, failures] = [warn / all, bad / all];
  const troubles = [
    ...(clientErrors >= MANY_CLIENT_ERRORS ? [`${shareText(clientErrors)} of the answers are 4xx`] : []),
    ...(failures >= MANY_FAILURES ? [`${shareText(failures)} are 5xx or none`] : []),
  ];
  return {
    tone: troubles.length === 0 ? 'good' : 'warn',
    clientErrors,
    failures,
    trouble: troubles.join(', '),
  };
}

function sentenceOf({ state, why, seen, lost }: RecorderStatus, trouble: string): string {
  const turns = turnsOf(lost);
  const account =
    seen.turns === 0
      ? 'nothing seen yet'
      : turns === 0
        ? 'nothing lost'
        : `${numberText(turns)} requests lost`;
  const flows = STATES[state].tone === 'bad' ? 'traffic goes on' : '';
  return [account, flows, why ?? '', trouble].filter((each) => each !== '').join('; ');
}

/** @param status the last one of a recording that was drained */
export function endedText({ exchanges, lost, disk, atUs }: RecorderStatus): string {
  const turns = turnsOf(lost);
  const account = turns === 0 ? 'nothing lost' : `${numberText(turns)} requests lost`;
  return `it was drained. At ${timeOf(atUs, 11, 19)} it had ${numberText(exchanges)} exchanges, ${account}. All of it: reprise inspect ${shellWord(disk.directory)}`;
}

function tilesOf(status: RecorderStatus, before: RecorderStatus | null, traffic: TrafficState): Tile[] {
  const { seen, recorded, pending, disk, exchanges } = status;
  const known = seen.bytes - pending.bytes;
  const share = known <= 0 ? null : recorded.bytes / known;
  const lost = turnsOf(status.lost);
  const recent = recentText(status, before);
  const filled = disk.bytes === null || disk.maxBytes === null ? null : disk.bytes / disk.maxBytes;
  const state = (isFine: boolean | null, good: string, warn: string) =>
    isFine === null
      ? {}
      : { state: isFine ? ({ tone: 'good', word: good } as const) : ({ tone: 'warn', word: warn } as const) };
  return [
    {
      label: 'exchanges recorded',
      value: numberText(exchanges),
      note: `${shareText(share)} of the bytes seen`,
    },
    {
      ...{ label: 'lost', value: numberText(lost), note: 'requests since the start' },
      ...state(lost === 0, 'nothing lost', 'counted by reason'),
    },
    {
      ...{ label: '4xx', value: shareText(traffic.clientErrors), note: `of the answers, ${recent}` },
      ...state(isBelow(traffic.clientErrors, MANY_CLIENT_ERRORS), 'few', 'many'),
    },
    {
      ...{
        label: '5xx or no answer',
        value: shareText(traffic.failures),
        note: `of the answers, ${recent}`,
      },
      ...state(isBelow(traffic.failures, MANY_FAILURES), 'few', 'many'),
    },
    {
      label: 'latency p95',
      value: latencyTexts(status, before)[1] ?? NONE,
      note: `upper bound, ${recent}`,
    },
    {
      ...{ label: 'disk', value: sizeText(disk.bytes), note: `of ${sizeText(disk.maxBytes)}` },
      ...state(isBelow(filled, NEARLY_FULL), `${shareText(filled)} used`, `${shareText(filled)} used`),
    },
  ];
}

function aboutOf({ pairs, routes, mode, disk, atUs }: RecorderStatus): string[] {
  const ways = [
    ...pairs.map(({ listen, target }) => `${listen} → ${target}`),
    ...routes.map(({ path, target }) => `${path} → ${target}`),
  ];
  return [`${mode} ${ways.join(', ')}`, `${disk.directory} as of ${timeOf(atUs, 0, 19)}`];
}

function timeOf(us: number, from: number, to: number): string {
  return new Date(us / 1e3).toISOString().slice(from, to).replace('T', ' ');
}

/** Null if it is not known. */
function isBelow(share: number | null, limit: number): boolean | null {
  return share === null ? null : share < limit;
}

function sizeText(bytes: number | null): string {
  return bytes === null ? NONE : formatBytes(bytes);
}

function factsOf(status: RecorderStatus): LiveFact[] {
  const { pending, disk, bodiesCut, connections } = status;
  return [
    ['open connections', 'open', numberText(connections.open)],
    ['connections turned away', 'turned-away', numberText(connections.turnedAway)],
    ['not written yet', 'pending', `${pending.turns} requests, ${formatBytes(pending.bytes)}`],
    ['queue to the recorder process', 'queued', formatBytes(status.queuedBytes)],
    ['memory of the recorder process', 'recorder-memory', sizeText(status.recorderResidentBytes)],
    ['free on the disk', 'free', sizeText(disk.freeBytes)],
    ['restarts of the recorder process', 'restarts', String(status.restarts.recorder)],
    ['times the recording failed', 'failures', String(status.recordingFailures)],
    ['bodies cut', 'bodies-cut', bodiesCut > 0 ? String(bodiesCut) : ''],
  ];
}

/** The bounds of the recorder's classes that hold the percentiles, in ms; null above the last class or without one. */
function boundsOf({ traffic }: RecorderStatus, before: RecorderStatus | null): (number | null)[] {
  const counts = growthOf(traffic.durationSeconds, before?.traffic.durationSeconds);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const upTo = counts.map((_, at) => counts.slice(0, at + 1).reduce((sum, count) => sum + count, 0));
  return PERCENTS.map((percent) => {
    const bound = traffic.durationSeconds.bounds[upTo.findIndex((count) => count >= (all * percent) / 100)];
    return all === 0 || bound === undefined ? null : bound * 1e3;
  });
}

function levelsOf(status: RecorderStatus, before: RecorderStatus | null): Record<string, number | null> {
  const bounds = boundsOf(status, before);
  return Object.fromEntries(PERCENTS.map((percent, at) => [`p${percent}`, bounds[at] ?? null]));
}

function latencyTexts(status: RecorderStatus, before: RecorderStatus | null): string[] {
  const { bounds, counts } = status.traffic.durationSeconds;
  const isNone = counts.every((count, at) => count === (before?.traffic.durationSeconds.counts[at] ?? 0));
  const beyond = isNone ? NONE : `over ${formatMs((bounds.at(-1) ?? 0) * 1e3)}`;
  return boundsOf(status, before).map((bound) => (bound === null ? beyond : formatMs(bound)));
}

function growthOf({ counts }: SecondsHistogram, before: SecondsHistogram | undefined): number[] {
  return counts.map((count, at) => Math.max(0, count - (before?.counts[at] ?? 0)));
}

/** Answers by class of status, such as `2xx`. */
function statusTable(status: RecorderStatus, before: RecorderStatus | null): LiveTable {
  const classesOf = (of: RecorderStatus | null) => {
    const counts = new Map<string, number>();
    for (const { codeClass, count } of of?.traffic.requests ?? [])
      counts.set(codeClass, (counts.get(codeClass) ?? 0) + count);
    return counts;
  };
  const earlier = classesOf(before);
  const rows = [...classesOf(status)]
    .filter(([, count]) => count > 0)
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([name, count]) => [
      name === 'none' ? 'no answer' : name,
      numberText(Math.max(0, count - (earlier.get(name) ?? 0))),
      numberText(count),
    ]);
  const columns = columnsOf(['status'], [recentText(status, before), 'since the start']);
  return { key: 'statuses', title: 'Answers by status', columns, rows, toneOf: statusIn(0) };
}

function statusIn(of: number): NonNullable<LiveTable['toneOf']> {
  return (cell, column) => (column === of ? statusTone(cell) : null);
}

function tallyTable(
  title: string,
  key: string,
  tallies: Readonly<Partial<Record<string, StatusTally>>>,
): LiveTable[] {
  const rows = Object.entries(tallies).flatMap(([name, tally]) =>
    tally === undefined || tally.bytes + tally.turns === 0
      ? []
      : [[name, numberText(tally.turns), formatBytes(tally.bytes)]],
  );
  return rows.length === 0 ? [] : [{ key, title, columns: columnsOf([key], ['requests', 'bytes']), rows }];
}

const STATUS_COLUMN = 3;

function recentTable({ recent }: RecorderStatus): LiveTable[] {
  if (recent.length === 0) return [];
  const columns = columnsOf(['arrival', 'route', 'model', 'status'], ['request', 'response', 'latency']);
  const rows = recent.map((one) => [
    timeOf(one.arrivalUs, 11, 23),
    one.route ?? NONE,
    one.model ?? NONE,
    String(one.status ?? one.outcome),
    formatBytes(one.requestBytes),
    formatBytes(one.responseBytes),
    one.durationUs === null ? NONE : formatMs(one.durationUs / 1e3),
  ]);
  return [{ key: 'recent', title: 'Last exchanges', columns, rows, toneOf: statusIn(STATUS_COLUMN) }];
}
