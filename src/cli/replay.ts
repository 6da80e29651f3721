import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { parseSlo } from '../analysis/slo.ts';
import { encryptionKeyOf, encryptionKeyOption, openForReplay } from '../app/open-capture.ts';
import { systemClock } from '../core/clock.ts';
import { isOnCommandLine, resolveOptions, text, withoutNulls } from '../core/options.ts';
import { REPLAY_OPTIONS } from '../replay/flags.ts';
import { type OptionSources, type RawReplayOptions, resolveReplayOptions } from '../replay/options.ts';
import { chooseWindow } from '../replay/window.ts';
import { addOptions } from './flags.ts';
import { leadInOf } from './lead-in.ts';
import { askedOf } from './options.ts';
import { checkerOf, isCheckImplied } from './replay-check.ts';
import { planTitle } from './replay-plan.ts';
import { forecastFor, plannedSpanNs, scalingOf, slowestPace, stagedSpanNs } from './replay-scaling.ts';
import { assertScalable, playbackOf, withinWindow } from './replay-windows.ts';
import { terminal } from './terminal.ts';

const OPTIONS = {
  ...REPLAY_OPTIONS,
  out: text('--out <directory>', 'where the run is kept (default: runs/<run id>)'),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
};

export function replayCommand(): Command {
  const command = new Command('replay')
    .description('Play a capture back against a target at a multiple of its pace, and judge what happened.')
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await replay(directory, command);
    });
  return addOptions(command, OPTIONS);
}

const SOURCES: Omit<OptionSources, 'isOnCommandLine'> = {
  environment: (name) => process.env[name],
  readFile: (path) => readFileSync(path, 'utf8'),
  checkSlo: (expressions) => {
    parseSlo(expressions);
  },
  nowUs: () => systemClock.epochUs(),
};

async function replay(directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const flags = withoutNulls(resolveOptions(OPTIONS, asked));
  const check = flags.check ?? isCheckImplied(flags.slo ?? []);
  const isGiven = (flag: keyof RawReplayOptions) => isOnCommandLine(asked, flag);
  const options = resolveReplayOptions({ ...flags, check }, { ...SOURCES, isOnCommandLine: isGiven });
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
