import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { parseSlo } from '../analysis/slo.ts';
import { systemClock } from '../core/clock.ts';
import {
  type OptionSources,
  type RawReplayOptions,
  REPLAY_DEFAULTS,
  resolveReplayOptions,
} from '../replay/options.ts';
import { chooseWindow } from '../replay/window.ts';
import { encryptionKeyOf, encryptionKeyOption } from './encryption-flag.ts';
import { leadInOf } from './lead-in.ts';
import { RepeatableOption } from './repeatable.ts';
import { addAnswerFlags } from './replay-answer-flags.ts';
import { openForReplay } from './replay-capture.ts';
import { addCheckFlags, checkerOf, isCheckImplied } from './replay-check.ts';
import { planTitle } from './replay-plan.ts';
import { forecastFor, plannedSpanNs, scalingOf, slowestPace, stagedSpanNs } from './replay-scaling.ts';
import { addScalingFlags } from './replay-scaling-flags.ts';
import { addSendingFlags } from './replay-sending-flags.ts';
import { addTrustFlags } from './replay-trust-flags.ts';
import { addWindowFlags } from './replay-window-flags.ts';
import { assertScalable, playbackOf, withinWindow } from './replay-windows.ts';
import { terminal } from './terminal.ts';

interface ReplayFlags extends RawReplayOptions {
  readonly out?: string;
  readonly encryptionKeyFile?: string;
}

export function replayCommand(): Command {
  const command = new Command('replay')
    .description('Play a capture back against a target at a multiple of its pace, and judge what happened.')
    .argument('<capture>', 'the directory of a capture')
    .option('--target <url>', 'the server to test, such as http://staging:8000/base')
    .option(
      '--multiplier <m>',
      'how much faster than recorded, such as 1.5 or 2x',
      REPLAY_DEFAULTS.multiplier,
    );
  const grouped = addSendingFlags(addAnswerFlags(addScalingFlags(addWindowFlags(command))));
  return addCheckFlags(addTrustFlags(grouped))
    .option('--shard <i/n>', 'play the i-th of n parts of the plan; i counts from 0')
    .option('--start-at <time>', 'begin at this instant, ISO 8601, the same for all shards')
    .addOption(
      new RepeatableOption('--shift-time <pointer>', 'where JSON bodies hold a time to be moved to now'),
    )
    .option('--dry-run', 'print the plan and what would not replay; send nothing')
    .addOption(new RepeatableOption('--slo <objective>', 'such as "latency: p(99)<200", or a preset'))
    .option('--out <directory>', 'where the run is kept (default: runs/<run id>)')
    .option('--retain-runs <which>', 'remove older runs beside this one: keep 20, or those of 30d')
    .addOption(encryptionKeyOption('file with the key of an encrypted capture'))
    .option('--json', 'print one JSON document')
    .option('--ndjson', 'print what happens as it happens, one JSON document a line')
    .option(
      '--max-rate <n>',
      'planned requests of a second beyond this are refused (default: twice the peak)',
    )
    .option(
      '--max-requests <n>',
      'send no more than so many requests, to calibrate and to warm up among them',
    )
    .option(
      '--drain-deadline <time>',
      'how long the last answers are waited for',
      REPLAY_DEFAULTS.drainDeadline,
    )
    .option('--host <which>', 'the Host header: target, recorded, or a host', REPLAY_DEFAULTS.host)
    .addOption(
      new RepeatableOption(
        '--header <header>',
        'set on every request: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"',
      ),
    )
    .addOption(new RepeatableOption('--remove-header <name>', 'sent with no request'))
    .addOption(new RepeatableOption('--map-path <from=to>', 'paths that begin with FROM begin with TO'))
    .option('--ca <file>', 'certificates (PEM) to trust besides those of the system')
    .option('--insecure', 'accept any certificate of the target')
    .addOption(new RepeatableOption('--production-host <name>', 'a host that must never be the target'))
    .addOption(
      new RepeatableOption('--allow-production-host <name>', 'let this host be the target nevertheless'),
    )
    .action(async (directory: string, flags: ReplayFlags, command: Command) => {
      await replay(directory, flags, command);
    });
}

const SOURCES: Omit<OptionSources, 'isOnCommandLine'> = {
  environment: (name) => process.env[name],
  readFile: (path) => readFileSync(path, 'utf8'),
  checkSlo: (expressions) => {
    parseSlo(expressions);
  },
  nowUs: () => systemClock.epochUs(),
};

async function replay(directory: string, flags: ReplayFlags, command: Command): Promise<void> {
  const check = flags.check ?? isCheckImplied(flags.slo ?? []);
  const isOnCommandLine = (flag: string) => command.getOptionValueSource(flag) === 'cli';
  const options = resolveReplayOptions({ ...flags, check }, { ...SOURCES, isOnCommandLine });
  const json = flags.json ?? false;
  const encryptionKeyFile = flags.encryptionKeyFile ?? null;
  const opened = openForReplay(directory, encryptionKeyOf(flags), options.window.recorders);
  try {
    const chosen = chooseWindow(opened.overview, options.window, slowestPace(options), stagedSpanNs(options));
    assertScalable(options, chosen);
    const { overview, unexplained } = withinWindow(opened, chosen);
    const source = playbackOf(opened.source, chosen, options.filters);
    const scaling = scalingOf(options, overview, source, chosen);
    const window = { ...chosen, plannedSpanNs: plannedSpanNs(scaling, chosen) };
    // Before the roll-ups of a long capture are summed: the reader sees at once that something happens.
    if (options.dryRun && !json) {
      terminal.print(planTitle({ options, overview, window }));
      await setImmediate();
    }
    const plan = {
      options,
      overview,
      window,
      forecast: forecastFor(overview, window, scaling, source),
      scaling,
    };
    if (options.dryRun || options.target === null) {
      const { planWindow } = await import('./replay-dry-run.ts');
      await planWindow(plan, source, opened.source, json, terminal);
      return;
    }
    // What sends is half of all there is, and a plan needs none of it.
    const [{ runReplay }, { loggerOf }] = await Promise.all([
      import('./replay-run.ts'),
      import('./logger.ts'),
    ]);
    const leadIn = leadInOf(plan, source, opened.source);
    await runReplay({
      plan,
      target: options.target,
      source,
      ...leadIn,
      thresholds: parseSlo(options.slo),
      unexplained,
      captureIdentity: opened.identity,
      createChecker: checkerOf(options, overview.name, encryptionKeyFile),
      out: flags.out ?? null,
      json,
      ndjson: flags.ndjson ?? false,
      terminal,
      logger: loggerOf(command),
    });
  } finally {
    opened.source.close();
  }
}
