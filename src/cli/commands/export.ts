import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { type ExportResult, exportCapture } from '../../app/export.ts';
import { encryptionKeyOf, encryptionKeyOption, openForReplay } from '../../app/open-capture.ts';
import {
  forecastFor,
  planDocument,
  planLines,
  plannedSpanNs,
  planTitle,
  type ReplayPlan,
  scalingOf,
  slowestPace,
  stagedSpanNs,
} from '../../app/replay/plan.ts';
import { assertScalable, playbackOf, withinWindow } from '../../app/replay/windows.ts';
import { VERSION } from '../../app/version.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError, Problems } from '../../core/errors.ts';
import {
  askedFor,
  choice,
  list,
  type ResolvedOptions,
  resolveOptions,
  type StatedTexts,
  text,
  toggle,
  withoutNulls,
} from '../../core/options.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { EXPORT_MODES, type ExportFormat, type ExportSettings } from '../../formats/export-writer.ts';
import { EXPORT_FORMATS } from '../../formats/index.ts';
import { REQUEST_OPTIONS, resolveReplayOptions } from '../../replay/options/replay-options.ts';
import { chooseWindow } from '../../replay/window/window.ts';
import { addOptions } from '../flags.ts';
import { askedOf } from '../options.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const EXPORT_SCHEMA_VERSION = 1;
const NAMES = EXPORT_FORMATS.map(({ name }) => name);

const OPTIONS = {
  out: text('--out <path>', 'the file, or for locust and k6 the directory; must not exist yet', {
    required: true,
  }),
  mode: choice('--mode <mode>', `how k6 paces: ${EXPORT_MODES.join(' or ')} (default: exact)`, EXPORT_MODES),
  includeBodies: toggle('--include-bodies', 'put request bodies into the table (parquet)'),
  ...REQUEST_OPTIONS,
  target: text('--target <url>', 'where requests go: put into the file (locust, k6, vegeta, har)'),
  maxRequests: text('--max-requests <n>', 'plan no more than the first so many requests'),
  removeHeader: list('--remove-header <name>', 'left out of every request'),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
  json: toggle('--json', 'print one JSON document'),
};
type ExportFlags = StatedTexts<ResolvedOptions<typeof OPTIONS>>;

export function exportCommand(): Command {
  const command = new Command('export')
    .description("Turn a capture, or a window of it at a multiple of its pace, into another tool's file.")
    .argument('<format>', EXPORT_FORMATS.map(({ name, summary }) => `${name}: ${summary}`).join('; '))
    .argument('<capture>', 'the directory of a capture')
    .action(async (format: string, directory: string, _: object, command: Command) => {
      await runExport(format, directory, command);
    });
  return addOptions(command, OPTIONS);
}

async function runExport(name: string, directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const flags = withoutNulls(resolveOptions(OPTIONS, asked));
  const { out } = flags;
  const format = formatNamed(name);
  const settings = settingsOf(format, flags);
  const options = resolveReplayOptions(
    { ...askedFor(REQUEST_OPTIONS, asked).stated, dryRun: true },
    {
      environment: (variable) => process.env[variable],
      readFile: (path) => readFileSync(path, 'utf8'),
      checkSlo: () => undefined,
      nowUs: () => systemClock.epochUs(),
      originOf: (key) => (key in OPTIONS ? asked.originOf(key as keyof typeof OPTIONS) : null),
    },
  );
  if (options.target !== null && options.target.socketPath !== null) {
    throw new AppError(
      'OPTION_INVALID',
      '--target is a unix socket, which no file of another tool can name',
      {
        hint: 'Give the URL of a server, such as http://staging:8000.',
      },
    );
  }
  const interruption = new Interruption();
  const opened = openForReplay(directory, encryptionKeyOf(flags), options.window.recorders);
  try {
    const chosen = chooseWindow(opened.overview, options.window, slowestPace(options), stagedSpanNs(options));
    assertScalable(options, chosen);
    const { overview } = withinWindow(opened, chosen);
    const source = playbackOf(opened.source, chosen, options.filters);
    const scaling = scalingOf(options, overview, source, chosen);
    const window = { ...chosen, plannedSpanNs: plannedSpanNs(scaling, chosen) };
    const plan = {
      options,
      overview,
      window,
      scaling,
      forecast: forecastFor(overview, window, scaling, source),
    };
    if (!flags.json) terminal.note(planTitle(plan), ...planLines(plan));
    const result = await exportCapture(
      {
        format,
        settings: { ...settings, origin: options.target?.origin ?? null },
        plan,
        source,
        out,
      },
      {
        signal: interruption.signal,
        onProgress: (sends) => terminal.progress(`${sends.toLocaleString('en-US')} requests exported`),
      },
    );
    if (flags.json) terminal.json(documentOf(format, out, plan, result));
    else terminal.print(...textOf(format, out, result));
  } catch (thrown) {
    if (interruption.status === null) throw thrown;
    terminal.note(`reprise: stopped by ${interruption.received}; ${out} was not written`);
    process.exitCode = interruption.status;
  } finally {
    opened.source.close();
    interruption.end();
  }
}

function formatNamed(name: string): ExportFormat {
  const format = EXPORT_FORMATS.find((known) => known.name === name);
  if (format !== undefined) return format;
  throw new AppError('OPTION_INVALID', `${JSON.stringify(name)} is no format: ${NAMES.join(', ')}`, {
    hint: 'For example: reprise export csv CAPTURE --out traffic.csv',
  });
}

/** @throws AppError OPTION_INVALID for an option that means nothing to the format, all of them at once */
function settingsOf(format: ExportFormat, flags: ExportFlags): ExportSettings {
  const problems = new Problems();
  const names = { target: '--target', mode: '--mode', includeBodies: '--include-bodies' } as const;
  for (const option of ['target', 'mode', 'includeBodies'] as const) {
    if (!flags[option] || format.takes.includes(option)) continue;
    const takers = EXPORT_FORMATS.filter(({ takes }) => takes.includes(option)).map(({ name }) => name);
    problems.add(`${names[option]} is for ${takers.join(', ')}, not for ${format.name}`);
  }
  if (format.needsTarget && flags.target === undefined) {
    problems.add(
      `--target is missing: ${format.name} writes whole URLs`,
      'Name the server that will be sent to, such as --target http://staging:8000; nothing is sent now.',
    );
  }
  problems.throwIfAny();
  return {
    creator: { name: 'reprise', version: VERSION },
    origin: null,
    mode: flags.mode ?? 'exact',
    includeBodies: flags.includeBodies,
  };
}

function documentOf(format: ExportFormat, out: string, plan: ReplayPlan, result: ExportResult): object {
  return {
    schemaVersion: EXPORT_SCHEMA_VERSION,
    kind: 'export',
    format: format.name,
    out,
    files: result.files,
    ...planDocument(plan),
    recorded: result.recorded,
    exported: result.exported,
    durationS: result.spanNs / 1e9,
    skipped: { ...result.audit.skipped, filtered: result.filtered },
    unreplayableByReason: result.audit.unreplayableByReason,
    maskedHeaders: result.audit.maskedHeaders,
    maskedQueryKeys: result.audit.maskedQueryKeys,
    cannotCarry: format.cannotCarry,
    lost: result.lost,
    usage: result.usage,
  };
}

function textOf(format: ExportFormat, out: string, result: ExportResult): string[] {
  const { audit } = result;
  const what = format.holds === 'rows' ? 'rows' : 'requests';
  const left = Object.entries({
    ...audit.skipped,
    filtered: result.filtered,
    ...audit.unreplayableByReason,
  }).filter(([, count]) => count > 0);
  const size = result.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const named = result.files.flatMap(({ name }) => (name === null ? [] : [name]));
  return [
    `Exported ${count(result.exported)} ${what} of ${count(result.recorded)} exchanges to ${out}`,
    `  ${format.name}${named.length === 0 ? '' : ` (${named.join(', ')})`}, ${formatBytes(size)}, ${formatMs(result.spanNs / 1e6)}`,
    ...(left.length === 0
      ? []
      : [`  left out: ${left.map(([why, sends]) => `${why} ${count(sends)}`).join(', ')}`]),
    ...(audit.maskedRequests === 0 || format.holds === 'rows'
      ? []
      : [`  without what was masked: ${count(audit.maskedRequests)} requests; give credentials to the tool`]),
    `${format.name} cannot carry`,
    ...format.cannotCarry.map((text) => `  ${text}`),
    ...(Object.keys(result.lost).length === 0 ? [] : ['In this export']),
    ...Object.entries(result.lost).map(([text, sends]) => `  ${count(sends)} with ${text}`),
    ...(result.usage.length === 0 ? [] : ['Use']),
    ...result.usage.map((line) => `  ${line.replace('FILE', () => out)}`),
  ];
}

function count(value: number): string {
  return value.toLocaleString('en-US');
}
