import type { Distribution } from '../../documents/parts.ts';
import type { ReportDocument, ReportGroups } from '../../documents/report.ts';
import { columnsOf, type ReportTable } from './report-table.ts';
import { bytesText, msText, NONE, numberText, shareText } from './value-text.ts';

/** Rows that are shown of a list; the JSON document has all. */
const SHOWN = 25;

export function groupTables({ routes, models, inputSizes, recording }: ReportDocument): ReportTable[] {
  const hasRecorded = recording.unavailable === null && recording.timed > 0;
  return [
    table('By route', 'method and path with variable parts named', routes, hasRecorded, nameText),
    table('By model', 'models as requests name them', models, hasRecorded, nameText),
    table(
      'By input size',
      'bytes of the request body, a class to each doubling',
      inputSizes,
      hasRecorded,
      sizeText,
    ),
  ].filter((each) => each !== null);
}

function table(
  title: string,
  what: string,
  { groups, ungrouped }: ReportGroups,
  hasRecorded: boolean,
  text: (name: string | null) => string,
): ReportTable | null {
  if (groups.length === 0) return null;
  const cut = groups.length > SHOWN ? `; ${SHOWN} of ${groups.length} are shown` : '';
  const rest = ungrouped === 0 ? '' : `; ${numberText(ungrouped)} requests under further names are in none`;
  const recorded = hasRecorded
    ? 'latency of the same requests as recorded beside it, of those completed then'
    : 'no recorded latency';
  return {
    title,
    unit: 'requests; scheduled latency of completed requests in ms, s or min',
    source: `rows of the run by ${what}${cut}${rest}; ${recorded}`,
    lookFor:
      'where the p99 stands out, and where it grew most over the recording: that part of the mix finds the limit first',
    columns: columnsOf(
      ['name'],
      [
        'sent',
        'share',
        'failed',
        ...['p50', 'p95', 'p99', 'max'],
        ...(hasRecorded ? ['recorded p50', 'recorded p95', 'recorded p99'] : []),
      ],
    ),
    rows: groups
      .slice(0, SHOWN)
      .map((group) => [
        text(group.name),
        numberText(group.sent),
        shareText(group.share),
        numberText(group.failed),
        ...percentileTexts(group.latencyMs),
        msText(group.latencyMs.max),
        ...(hasRecorded ? percentileTexts(group.recordedMs) : []),
      ]),
  };
}

function percentileTexts({ p50, p95, p99 }: Distribution): string[] {
  return [p50, p95, p99].map(msText);
}

function nameText(name: string | null): string {
  return name ?? 'not known';
}

/** `1024–2047` as sizes are read. */
function sizeText(name: string | null): string {
  if (name === null) return NONE;
  const [from = 0, to = from] = name.split('–').map(Number);
  return from === to ? bytesText(from) : `${bytesText(from)} to under ${bytesText(to + 1)}`;
}
