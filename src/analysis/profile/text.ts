import { countOf, formatMs } from '../../core/units.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { sectionOf } from '../render/table.ts';
import { tableText } from '../render/text.ts';
import { findingsOf } from './build-profile.ts';
import {
  arrivalsTable,
  failuresTable,
  inputSizesTable,
  missingTable,
  mixTable,
  modelsTable,
  payloadTable,
  peaksTable,
  percentilesTable,
  routesTable,
} from './tables.ts';

/** Rows of a list; the page has more, the JSON document all. */
const LISTED = 8;

/** The profile as lines of plain text: what matters most first. Cells may hold recorded text: print them with care. */
export function profileText(document: ProfileDocument): string[] {
  const { window, requests, filters, notes } = document;
  return [
    `Profile of ${document.capture ?? 'a capture'}`,
    window === null
      ? '  the capture holds no exchange'
      : `  ${window.from} to ${window.to} (${formatMs(window.spanS * 1e3)}), ${countOf(requests, 'request')}`,
    ...(filters.length === 0
      ? []
      : [`  only ${filters.join('; ')}: ${requests} of ${document.unfilteredRequests}`]),
    '',
    ...findingsOf(document).map((finding) => `  ${finding}`),
    ...(requests === 0 ? [] : tablesOf(document)).flatMap((table) => ['', ...tableText(table, 'brief')]),
    '',
    document.privacy.statement,
    ...(notes.length === 0 ? [] : ['', 'Notes', ...notes.map((note) => `  ${note}`)]),
  ];
}

function tablesOf(document: ProfileDocument) {
  const { payloads } = document;
  const kinds = payloads === null || payloads.read === 0 ? [] : payloads.protocols;
  return sectionOf('profile', 'Profile', [
    arrivalsTable(document),
    peaksTable(document),
    routesTable(document, LISTED),
    modelsTable(document, LISTED),
    mixTable(document, LISTED),
    percentilesTable(document),
    ...(document.latencyMs.count === 0 ? [] : [inputSizesTable(document)]),
    ...kinds.map((kind) => payloadTable(kind, payloads?.complete === true ? 'every request' : 'a sample')),
    failuresTable(document),
    missingTable(document),
  ]).tables;
}
