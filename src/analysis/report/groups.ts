import { Histogram } from '../../core/histogram.ts';
import { NS_PER_US } from '../../core/units.ts';
import { PERCENTILE_NAMES, percentilesIn } from '../../documents/percentiles.ts';
import type { ReportDocument, ReportGroup, ReportGroups } from '../../documents/report.ts';
import { distributionOf } from '../profile/distribution.ts';
import { bytesText, columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';
import type { NamedGroups } from '../stats/tally.ts';

/** Most rows shown of a list. The JSON document has all. */
const SHOWN = 25;

export function groupTables({ routes, models, inputSizes, recording, summary }: ReportDocument): Table[] {
  const times = summary?.closedLoop === undefined ? 'scheduled latency' : 'service latency';
  const hasRecorded = recording.unavailable === null && recording.timed > 0;
  const kinds = [
    { title: 'By route', what: 'method and path with variable parts named', of: routes, text: groupName },
    { title: 'By model', what: 'models as requests name them', of: models, text: groupName },
    {
      title: 'By input size',
      what: 'bytes of the request body, a class to each doubling',
      of: inputSizes,
      text: sizeText,
    },
  ];
  return kinds
    .filter(({ of }) => of.groups.length > 0)
    .map(({ title, what, of, text }) => ({
      ...groupTable(title, what, of, hasRecorded, text),
      unit: `requests; ${times} of completed requests in ms, s or min`,
    }));
}

function groupTable(
  title: string,
  what: string,
  { groups, ungrouped }: ReportGroups,
  hasRecorded: boolean,
  text: (name: string | null) => string,
): Omit<Table, 'unit'> {
  const cut = groups.length > SHOWN ? `; ${SHOWN} of ${groups.length} are shown` : '';
  const rest =
    ungrouped === 0 ? '' : `; ${numberText(ungrouped)} requests have further names and are not shown`;
  const recorded = hasRecorded
    ? 'beside it the recorded latency of those of them that completed then'
    : 'no recorded latency';
  return {
    title,
    source: `rows of the run by ${what}${cut}${rest}; ${recorded}`,
    lookFor:
      'a p99 that stands out, or grew most since the recording: that part of the mix reaches its limit first',
    columns: columnsOf(
      ['name'],
      [
        'sent',
        'share',
        'failed',
        ...[...PERCENTILE_NAMES, 'max'],
        ...(hasRecorded ? PERCENTILE_NAMES.map((name) => `recorded ${name}`) : []),
      ],
    ),
    rows: groups
      .slice(0, SHOWN)
      .map((group) => [
        text(group.name),
        numberText(group.sent),
        shareText(group.share),
        numberText(group.failed),
        ...[...percentilesIn(group.latencyMs), group.latencyMs.max].map(msText),
        ...(hasRecorded ? percentilesIn(group.recordedMs).map(msText) : []),
      ]),
  };
}

function groupName(name: string | null): string {
  return name ?? 'not known';
}

/** A size class such as `1024–2047` in readable units. */
function sizeText(name: string | null): string {
  if (name === null) return NONE;
  const [from = 0, to = from] = name.split('–').map(Number);
  return from === to ? bytesText(from) : `${bytesText(from)} to under ${bytesText(to + 1)}`;
}

const MS_PER_NS = 1e-6;
const MS_PER_US = 1e-3;
/** The name of a size class of request bodies. Each class is twice as large as the previous one. */
export function sizeName(index: number): string {
  return index === 0 ? '0' : `${2 ** (index - 1)}–${2 ** index - 1}`;
}

/** Sent requests of one group, and the recorded requests with the same name. */
export class Group {
  requests = 0;
  failed = 0;
  readonly latencyNs = new Histogram();
  recordedUs = new Histogram();

  /** @param latencyNs null if the request did not complete, or does not count */
  add(failed: boolean, latencyNs: number | null): void {
    this.requests += 1;
    if (failed) this.failed += 1;
    // Rounded to microseconds, like recorded times.
    if (latencyNs !== null) this.latencyNs.record(Math.round(latencyNs / NS_PER_US) * NS_PER_US);
  }
}

export function groupFigures(named: NamedGroups<Group>): ReportGroups {
  const groups = named.ordered();
  const sent = groups.reduce((sum, [, { requests }]) => sum + requests, named.ungrouped);
  return {
    groups: groups.map(([name, { requests, failed, latencyNs, recordedUs }]) => ({
      name,
      sent: requests,
      share: requests / sent,
      failed,
      latencyMs: distributionOf(latencyNs, MS_PER_NS),
      recordedMs: distributionOf(recordedUs, MS_PER_US),
    })),
    ungrouped: named.ungrouped,
  };
}

/** The size classes in ascending order. */
export function bySize({ groups, ungrouped }: ReportGroups): ReportGroups {
  const least = ({ name }: ReportGroup) => Number.parseInt(name ?? '0', 10);
  return { groups: groups.toSorted((a, b) => least(a) - least(b)), ungrouped };
}
