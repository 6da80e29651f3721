import type { RecorderStatus, StatusTally } from '../../core/accounting.ts';
import type { SecondsHistogram } from '../../core/histogram.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import { NONE, numberText, shareText } from '../render/table.ts';
import type { LiveFact, LiveTable, LiveView } from './page.ts';

export const RECORDER_TITLE = 'Recorder';
/** Number of kept readings, in seconds. */
const SECONDS = 120;
/** Statuses and times cover this many of the last seconds. */
const RECENT_S = 60;
const TONES = { HEALTHY: 'good', SHEDDING: 'warn', OFF: 'bad', FAILED: 'bad' } as const;

/** After a longer pause, earlier readings are discarded. */
const SILENCE_US = 5_000_000;

/** Shows a recorder by its statuses, one each second. Memory is bounded. */
export class RecorderWatch {
  #readings: RecorderStatus[] = [];

  /** After a restart of the recorder or a pause, it begins again with this reading. */
  add(status: RecorderStatus): void {
    const last = this.#readings.at(-1) ?? status;
    if (last.startedUs !== status.startedUs || status.atUs - last.atUs > SILENCE_US) this.#readings = [];
    else if (status.atUs <= last.atUs) this.#readings.pop();
    this.#readings.push(status);
    if (this.#readings.length > SECONDS + 1) this.#readings.shift();
  }

  /** Null before the first reading. */
  view(): LiveView | null {
    const status = this.#readings.at(-1);
    if (status === undefined) return null;
    const earliest = this.#readings.at(-1 - RECENT_S) ?? this.#readings[0];
    const before = earliest === status ? null : (earliest ?? null);
    return {
      title: RECORDER_TITLE,
      state: status.state,
      tone: TONES[status.state],
      badge: status.draining ? `${status.state}, draining` : status.state,
      why: status.why ?? '',
      about: aboutOf(status),
      facts: [...this.#rates(), ...timesOf(status, before), ...factsOf(status)],
      charts: [
        {
          key: 'rates',
          caption:
            'Exchanges recorded each second, of the last two minutes at most. A dip without a dip in traffic is a recorder that sheds.',
          lines: [{ label: 'recorded', values: this.#perSecond(({ exchanges }) => exchanges) }],
          limits: [],
          text: (rate) => `${numberText(rate)}/s`,
        },
      ],
      tables: [
        statusTable(status, before),
        tallyTable('Lost, by reason', 'lost', status.lost),
        tallyTable('Left out on purpose, by cause', 'omitted', status.omitted),
        recentTable(status),
      ],
    };
  }

  #perSecond(of: (status: RecorderStatus) => number): number[] {
    return this.#readings.slice(1).map((status, at) => {
      const before = this.#readings[at] ?? status;
      return Math.max(0, (of(status) - of(before)) / Math.max(1e-6, (status.atUs - before.atUs) / 1e6));
    });
  }

  #rates(): LiveFact[] {
    const rate = this.#perSecond(({ exchanges }) => exchanges).at(-1);
    const bytes = this.#perSecond(({ seen }) => seen.bytes).at(-1);
    return [
      ['exchanges per second', 'rate', rate === undefined ? NONE : numberText(rate)],
      ['bytes per second', 'throughput', bytes === undefined ? NONE : `${formatBytes(Math.round(bytes))}/s`],
    ];
  }
}

function aboutOf({ pairs, routes, mode, disk, atUs }: RecorderStatus): string[] {
  const ways = [
    ...pairs.map(({ listen, target }) => `${listen} → ${target}`),
    ...routes.map(({ path, target }) => `${path} → ${target}`),
  ];
  return [`${mode} ${ways.join(', ')}`, `${disk.directory} as of ${timeOf(atUs, 0, 19)} UTC`];
}

function timeOf(us: number, from: number, to: number): string {
  return new Date(us / 1e3).toISOString().slice(from, to).replace('T', ' ');
}

function factsOf(status: RecorderStatus): LiveFact[] {
  const { seen, recorded, pending, disk, bodiesCut } = status;
  const size = (bytes: number | null) => (bytes === null ? NONE : formatBytes(bytes));
  const known = Math.max(1, seen.bytes - pending.bytes);
  return [
    ['exchanges recorded', 'exchanges', numberText(status.exchanges)],
    ['recorded share of bytes', 'share', seen.bytes === 0 ? NONE : shareText(recorded.bytes / known)],
    ['open connections', 'open', numberText(status.connections.open)],
    ['turned away', 'turned-away', numberText(status.connections.turnedAway)],
    ['pending', 'pending', `${pending.turns} turns, ${formatBytes(pending.bytes)}`],
    ['queued for the recorder', 'queued', formatBytes(status.queuedBytes)],
    ['recorder’s memory', 'recorder-memory', size(status.recorderResidentBytes)],
    ['capture on disk', 'disk', `${size(disk.bytes)} of ${size(disk.maxBytes)}`],
    ['free on its disk', 'free', size(disk.freeBytes)],
    ['restarts of the recorder', 'restarts', String(status.restarts.recorder)],
    ['times the recording failed', 'failures', String(status.recordingFailures)],
    ['bodies cut', 'bodies-cut', bodiesCut > 0 ? String(bodiesCut) : ''],
    ['answered 4xx', 'client-errors', clientErrorsOf(status)],
  ];
}

/** The share of answers with a 4xx; empty without any. */
function clientErrorsOf({ traffic: { requests } }: RecorderStatus): string {
  const total = (of: typeof requests) => of.reduce((sum, { count }) => sum + count, 0);
  const atFault = total(requests.filter(({ codeClass }) => codeClass === '4xx'));
  return atFault === 0 ? '' : shareText(atFault / total(requests));
}

/** Times come from the recorder's buckets, so a percentile is the upper bound of its bucket. */
function timesOf({ traffic }: RecorderStatus, before: RecorderStatus | null): LiveFact[] {
  const { bounds } = traffic.durationSeconds;
  const counts = growthOf(traffic.durationSeconds, before?.traffic.durationSeconds);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const upTo = counts.map((_, at) => counts.slice(0, at + 1).reduce((sum, count) => sum + count, 0));
  return PERCENTS.map((percent) => {
    const bound = bounds[upTo.findIndex((count) => count >= (all * percent) / 100)];
    const text = bound === undefined ? `over ${formatMs((bounds.at(-1) ?? 0) * 1e3)}` : formatMs(bound * 1e3);
    return [`took, p${percent}, at most`, `took-p${percent}`, all === 0 ? NONE : text];
  });
}

function growthOf({ counts }: SecondsHistogram, before: SecondsHistogram | undefined): number[] {
  return counts.map((count, at) => Math.max(0, count - (before?.counts[at] ?? 0)));
}

/** Answers by class of status, such as `2xx`. */
function statusTable(status: RecorderStatus, before: RecorderStatus | null): LiveTable {
  const countsOf = (of: RecorderStatus | null) => {
    const counts = new Map<string, number>();
    for (const { codeClass, count } of of?.traffic.requests ?? [])
      counts.set(codeClass, (counts.get(codeClass) ?? 0) + count);
    return counts;
  };
  const earlier = countsOf(before);
  const rows = [...countsOf(status)]
    .filter(([, count]) => count > 0)
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([name, count]) => [
      name === 'none' ? 'no answer' : name,
      numberText(Math.max(0, count - (earlier.get(name) ?? 0))),
      numberText(count),
    ]);
  const columns = ['status', before === null ? 'since its start' : 'last minute', 'since its start'];
  return { key: 'statuses', title: 'Answers', columns, rows: orNothing(rows) };
}

function tallyTable(
  title: string,
  key: string,
  tallies: Readonly<Partial<Record<string, StatusTally>>>,
): LiveTable {
  const rows = Object.entries(tallies).flatMap(([name, tally]) =>
    tally === undefined || tally.bytes + tally.turns === 0
      ? []
      : [[name, numberText(tally.turns), formatBytes(tally.bytes)]],
  );
  return { key, title, columns: ['', 'turns', 'bytes'], rows: orNothing(rows) };
}

function orNothing(rows: readonly string[][]): readonly string[][] {
  return rows.length === 0 ? [['nothing', '', '']] : rows;
}

function recentTable({ recent }: RecorderStatus): LiveTable {
  return {
    key: 'recent',
    title: 'Last exchanges',
    columns: ['arrival (UTC)', 'route', 'model', 'status', 'request', 'response', 'took'],
    rows: recent.map((one) => [
      timeOf(one.arrivalUs, 11, 23),
      one.route ?? NONE,
      one.model ?? NONE,
      String(one.status ?? one.outcome),
      formatBytes(one.requestBytes),
      formatBytes(one.responseBytes),
      one.durationUs === null ? NONE : formatMs(one.durationUs / 1e3),
    ]),
  };
}
