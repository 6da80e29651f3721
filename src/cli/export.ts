import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { formatBytes, formatMs } from '../core/units.ts';
import { EXPORT_MODES, type ExportFormat, type ExportSettings } from '../formats/export-writer.ts';
import { EXPORT_FORMATS } from '../formats/index.ts';
import { type RawReplayOptions, REPLAY_DEFAULTS, resolveReplayOptions } from '../replay/options.ts';
import { chooseWindow } from '../replay/window.ts';
import { encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { type ExportResult, exportCapture } from './exporting.ts';
import { Interruption } from './interruption.ts';
import { RepeatableOption } from './repeatable.ts';
import { openForReplay } from './replay-capture.ts';
import { planDocument, planLines, planTitle, type ReplayPlan } from './replay-plan.ts';
import { forecastFor, plannedSpanNs, scalingOf, slowestPace, stagedSpanNs } from './replay-scaling.ts';
import { addScalingFlags } from './replay-scaling-flags.ts';
import { addWindowFlags } from './replay-window-flags.ts';
import { assertScalable, playbackOf, withinWindow } from './replay-windows.ts';
import { terminal } from './terminal.ts';
import { VERSION } from './version.ts';

const EXPORT_SCHEMA_VERSION = 1;
const NAMES = EXPORT_FORMATS.map(({ name }) => name);

interface ExportFlags extends RawReplayOptions {
  readonly out: string;
  readonly mode?: string;
  readonly includeBodies?: boolean;
  readonly encryptionKeyFile?: string;
  readonly json?: boolean;
}

export function exportCommand(): Command {
  const command = new Command('export')
    .description("Turn a capture, or a window of it at a multiple of its pace, into another tool's file.")
    .argument('<format>', EXPORT_FORMATS.map(({ name, summary }) => `${name}: ${summary}`).join('; '))
    .argument('<capture>', 'the directory of a capture')
    .requiredOption('--out <path>', 'the file, or for locust and k6 the directory; must not exist yet')
    .option('--target <url>', 'where requests go: put into the file (locust, k6, vegeta, har)')
    .option('--mode <mode>', `how k6 paces: ${EXPORT_MODES.join(' or ')} (default: exact)`)
    .option('--include-bodies', 'put request bodies into the table (parquet)')
    .option(
      '--multiplier <m>',
      'how much faster than recorded, such as 1.5 or 2x',
      REPLAY_DEFAULTS.multiplier,
    );
  return addScalingFlags(addWindowFlags(command))
    .option('--max-requests <n>', 'plan no more than the first so many requests')
    .option('--host <which>', 'the Host header: target, recorded, or a host', REPLAY_DEFAULTS.host)
    .addOption(new RepeatableOption('--remove-header <name>', 'left out of every request'))
    .addOption(new RepeatableOption('--map-path <from=to>', 'paths that begin with FROM begin with TO'))
    .addOption(new RepeatableOption('--production-host <name>', 'a host that must never be the target'))
    .addOption(
      new RepeatableOption('--allow-production-host <name>', 'let this host be the target nevertheless'),
    )
    .addOption(encryptionKeyOption('file with the key of an encrypted capture'))
    .option('--json', 'print one JSON document')
    .action(async (format: string, directory: string, flags: ExportFlags, command: Command) => {
      await runExport(format, directory, flags, command);
    });
}

async function runExport(
  name: string,
  directory: string,
  flags: ExportFlags,
  command: Command,
): Promise<void> {
  const format = formatNamed(name);
  const settings = settingsOf(format, flags);
  const options = resolveReplayOptions(
    { ...flags, dryRun: true },
    {
      environment: (variable) => process.env[variable],
      readFile: (path) => readFileSync(path, 'utf8'),
      checkSlo: () => undefined,
      nowUs: () => systemClock.epochUs(),
      isOnCommandLine: (flag) => command.getOptionValueSource(flag) === 'cli',
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
        out: flags.out,
      },
      {
        signal: interruption.signal,
        onProgress: (sends) => terminal.progress(`${sends.toLocaleString('en-US')} requests exported`),
      },
    );
    if (flags.json) terminal.json(documentOf(format, flags.out, plan, result));
    else terminal.print(...textOf(format, flags.out, result));
  } catch (thrown) {
    if (interruption.status === null) throw thrown;
    terminal.note(`reprise: stopped by ${interruption.received}; ${flags.out} was not written`);
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
    if (flags[option] === undefined || format.takes.includes(option)) continue;
    const takers = EXPORT_FORMATS.filter(({ takes }) => takes.includes(option)).map(({ name }) => name);
    problems.add(`${names[option]} is for ${takers.join(', ')}, not for ${format.name}`);
  }
  if (format.needsTarget && flags.target === undefined) {
    problems.add(
      `--target is missing: ${format.name} writes whole URLs`,
      'Name the server that will be sent to, such as --target http://staging:8000; nothing is sent now.',
    );
  }
  const mode = EXPORT_MODES.find((known) => known === (flags.mode ?? 'exact'));
  if (mode === undefined) problems.add(`--mode ${JSON.stringify(flags.mode)} is neither exact nor rate`);
  problems.throwIfAny();
  return {
    creator: { name: 'reprise', version: VERSION },
    origin: null,
    mode: mode ?? 'exact',
    includeBodies: flags.includeBodies ?? false,
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
