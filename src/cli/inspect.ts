import { Command } from 'commander';
import { formatBytes } from '../core/units.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
import { type InspectDocument, inspectCapture } from '../storage/inspection.ts';
import { type EncryptionFlag, encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { type Terminal, tableLines, terminal } from './terminal.ts';

/** Segments the table shows, from each end; `--json` has all of them. */
const SEGMENTS_SHOWN = 10;

/** `reprise inspect DIR`: what a capture holds and what it misses. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description('say what a capture holds, and what it misses')
    .argument('<dir>', 'a capture')
    .addOption(encryptionKeyOption('not needed: an encrypted capture says what it holds without its key'))
    .option('--json', 'print one JSON document')
    .action((directory: string, flags: { json?: boolean } & EncryptionFlag) => {
      // A key that is no key is refused here as everywhere.
      encryptionKeyOf(flags);
      const document = inspectCapture(resolveCaptureDirectory(directory, 'read'));
      if (flags.json) terminal.json(document);
      else printDocument(document, terminal);
    });
}

function printDocument(document: InspectDocument, output: Terminal): void {
  output.print(
    ...factLines(document),
    ...(document.days.length > 0 ? ['', ...dayLines(document)] : []),
    ...(document.segments.length > 0 ? ['', ...segmentLines(document)] : []),
  );
}

function factLines(document: InspectDocument): string[] {
  const { bytes, truncated, losses, omitted, expired } = document;
  const rows: [string, string][] = [
    ['capture', document.directory],
    ['source', document.origins.map(originText).join('; ') || 'nothing was recorded yet'],
    ['recorders', recorderText(document)],
    ['exchanges', String(document.exchanges)],
    ['arrivals', `${document.firstArrival ?? '–'} to ${document.lastArrival ?? '–'}`],
    ['outcomes', listText(document.outcomes)],
    ['request bodies', sizeText(bytes.request, truncated.requests)],
    ['response bodies', sizeText(bytes.response, truncated.responses)],
    ['on disk', formatBytes(bytes.disk)],
    ['lost', amountText(losses, losses.byReason)],
    ['omitted', amountText(omitted, omitted.byCause)],
    ['coverage', coverageText(document.coverage)],
    ['protocols', protocolText(document)],
    ['clock anchors', String(document.clockAnchors)],
  ];
  if (expired.segments > 0) {
    const { segments, exchanges } = expired;
    rows.push(['expired', `${segments} segments, ${exchanges} exchanges, ${formatBytes(expired.bytes)}`]);
  }
  if (document.damaged.length > 0) rows.push(['damaged, set aside', document.damaged.join(', ')]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

function originText(origin: InspectDocument['origins'][number]): string {
  if (origin.kind === 'recorded') return `recorded in front of ${origin.target}`;
  return `imported from ${origin.file}, ${origin.paired ? 'paired with request bodies' : 'arrivals alone'}`;
}

function recorderText({ recorders, fleetSize }: InspectDocument): string {
  const names = recorders.slice(0, SEGMENTS_SHOWN).map(({ id, host }) => `${id} on ${host}`);
  const more = recorders.length > names.length ? ` and ${recorders.length - names.length} more` : '';
  const of = fleetSize === null ? '' : ` of a fleet of ${fleetSize}`;
  return `${recorders.length}${of}${names.length === 0 ? '' : `: ${names.join(', ')}${more}`}`;
}

function sizeText(bytes: number, truncated: number): string {
  return `${formatBytes(bytes)}${truncated > 0 ? ` (${truncated} kept in part)` : ''}`;
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

function coverageText(coverage: number | null): string {
  return coverage === null ? '–' : `${(coverage * 100).toFixed(2)} %`;
}

function protocolText({ protocols }: InspectDocument): string {
  const texts = Object.entries(protocols).map(
    ([name, { connections, bytes }]) => `${name} ${connections} connections (${formatBytes(bytes)})`,
  );
  return texts.join(', ') || '–';
}

function listText(counts: Readonly<Record<string, number>>): string {
  const texts = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`);
  return texts.join(', ') || '–';
}

function dayLines({ days }: InspectDocument): string[] {
  return tableLines(
    [{ title: 'day (UTC)' }, { title: 'exchanges', align: 'right' }, { title: 'bodies', align: 'right' }],
    days.map(({ day, exchanges, bytes }) => [day, String(exchanges), formatBytes(bytes)]),
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
  const shown =
    hidden > 0
      ? [
          ...segments.slice(0, SEGMENTS_SHOWN).map(row),
          [`… ${hidden} more (--json shows all)`, '', '', ''],
          ...segments.slice(-SEGMENTS_SHOWN).map(row),
        ]
      : segments.map(row);
  return tableLines(
    [
      { title: 'segment' },
      { title: 'state' },
      { title: 'exchanges', align: 'right' },
      { title: 'on disk', align: 'right' },
    ],
    shown,
  );
}
