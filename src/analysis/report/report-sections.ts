import type { ReportDocument } from '../../documents/report.ts';
import { arrivalTable, calibrationTable, distanceTable, healthTable } from './fidelity-tables.ts';
import { groupTables } from './group-tables.ts';
import { latencyTable, objectivesTable, streamTable } from './latency-tables.ts';
import type { ReportTable } from './report-table.ts';
import { answerTable, countsTable, errorTable, skippedTable, statusTable } from './trouble-tables.ts';

export type SectionKey =
  | 'objectives'
  | 'latency'
  | 'streams'
  | 'groups'
  | 'fidelity'
  | 'trouble'
  | 'generator'
  | 'calibration';

export interface ReportSection {
  readonly key: SectionKey;
  readonly title: string;
  readonly tables: readonly ReportTable[];
}

/** The body of a report in the order it is read, the same in each of its forms; what has nothing to say is left out. */
export function sectionsOf(document: ReportDocument): ReportSection[] {
  const { summary } = document;
  const of = (key: SectionKey, title: string, tables: readonly (ReportTable | null)[]): ReportSection => ({
    key,
    title,
    tables: tables.filter((table) => table !== null),
  });
  return [
    of('objectives', 'Objectives and counts', [objectivesTable(document), countsTable(document)]),
    of('latency', 'Latency', [latencyTable(document)]),
    of('streams', 'Streams', [streamTable(document)]),
    of('groups', 'By route, model and input size', groupTables(document)),
    of('trouble', 'What was not sent, and what went wrong', [
      skippedTable(document),
      errorTable(document),
      statusTable(document),
      answerTable(document),
    ]),
    of(
      'fidelity',
      'Fidelity: recorded, planned, sent',
      summary === null ? [] : [arrivalTable(summary), distanceTable(summary)],
    ),
    of('generator', 'The sending side', summary === null ? [] : [healthTable(summary)]),
    of('calibration', 'Calibration', summary === null ? [] : [calibrationTable(summary)]),
  ].filter(({ tables }) => tables.length > 0);
}
