import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { parseSlo } from '../analysis/verdict/slo.ts';
import { exitCodeOf } from '../analysis/verdict/verdict.ts';
import {
  encryptionKeyOf,
  encryptionKeyOption,
  type OpenedCapture,
  openForReplay,
} from '../app/open-capture.ts';
import { checkerOf, isCheckImplied } from '../app/replay/document.ts';
import { chooseReplay, leadInOf, planLines, planOf, planTitle, type ReplayPlan } from '../app/replay/plan.ts';
import { endEvent } from '../app/replay/progress.ts';
import type { ReplayRunParts } from '../app/replay/run.ts';
import { entryUrl } from '../app/workers.ts';
import { systemClock } from '../core/clock.ts';
import { askedFor, resolveOptions, text } from '../core/options.ts';
import {
  type OptionSources,
  OUTPUT_OPTIONS,
  REPLAY_OPTIONS,
  resolveReplayOptions,
} from '../replay/options/replay-options.ts';
import type { Playback } from '../replay/window/playback.ts';
import { EXIT } from './exit.ts';
import { addOptions } from './flags.ts';
import { Interruption } from './interruption.ts';
import { askedOf } from './options.ts';
import { terminal } from './terminal.ts';

const OWN_OPTIONS = {
  out: text('--out <directory>', 'where the run is kept (default: runs/<run id>)'),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
};
const OPTIONS = { ...REPLAY_OPTIONS, ...OWN_OPTIONS };

export function replayCommand(): Command {
  const command = new Command('replay')
    .description('Play a capture back against a target at a multiple of its pace, and judge what happened.')
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await replay(directory, command);
    });
  return addOptions(command, OPTIONS);
}

const SOURCES: Omit<OptionSources, 'originOf'> = {
  environment: (name) => process.env[name],
  readFile: (path) => readFileSync(path, 'utf8'),
  checkSlo: (expressions) => {
    parseSlo(expressions);
  },
  asksForCheck: isCheckImplied,
  nowUs: () => systemClock.epochUs(),
};

async function replay(directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const { stated } = askedFor(REPLAY_OPTIONS, asked);
  const options = resolveReplayOptions(stated, { ...SOURCES, originOf: asked.originOf });
  const { out, encryptionKeyFile } = resolveOptions(OWN_OPTIONS, askedFor(OWN_OPTIONS, asked));
  const { json, ndjson } = resolveOptions(OUTPUT_OPTIONS, askedFor(OUTPUT_OPTIONS, asked));
  const opened = openForReplay(directory, encryptionKeyOf({ encryptionKeyFile }), options.window.recorders);
  try {
    const choice = chooseReplay(opened, options);
    // Before the roll-ups of a long capture are summed: the reader sees at once that something happens.
    if (options.dryRun && !json) {
      terminal.print(planTitle(choice));
      await setImmediate();
    }
    const plan = planOf(choice);
    if (options.dryRun || options.target === null) {
      await showPlan(plan, choice.source, opened, json);
      return;
    }
    await play(
      {
        plan,
        target: options.target,
        source: choice.source,
        ...leadInOf(plan, choice.source, opened.source),
        thresholds: parseSlo(options.slo),
        unexplained: choice.unexplained,
        captureIdentity: opened.identity,
        createChecker: checkerOf(entryUrl('checker'), options, plan.overview.name, encryptionKeyFile),
        out,
        logger: (await import('./logger.ts')).loggerOf(command),
      },
      { json, ndjson },
    );
  } finally {
    opened.source.close();
  }
}

/** Prints what a replay would do. */
async function showPlan(
  plan: ReplayPlan,
  source: Playback,
  opened: OpenedCapture,
  json: boolean,
): Promise<void> {
  const [{ dryRunDocument, planWindow }, { dryRunLines }] = await Promise.all([
    import('../app/replay/dry-run.ts'),
    import('./dry-run-text.ts'),
  ]);
  const outcome = await planWindow(plan, source, opened.source, (leadIn) => {
    if (!json) terminal.print(...planLines(plan, leadIn));
  });
  if (json) terminal.json(dryRunDocument(outcome));
  else terminal.print(...dryRunLines(outcome));
}

/**
 * Plays it, prints its summary and leaves the exit status of its verdict.
 * @throws AppError what ended the run, after that was printed
 */
async function play(
  parts: Omit<ReplayRunParts, 'threads' | 'listen' | 'reporter'>,
  output: { readonly json: boolean; readonly ndjson: boolean },
): Promise<void> {
  // What sends is half of all there is, and a plan needs none of it.
  const [{ runReplay }, { summaryLines }] = await Promise.all([
    import('../app/replay/run.ts'),
    import('../app/replay/run.ts'),
  ]);
  const interruptions: Interruption[] = [];
  const result = await runReplay({
    ...parts,
    threads: { pacer: entryUrl('pacer'), sender: entryUrl('sender') },
    listen: () => {
      const interruption = new Interruption();
      interruptions.push(interruption);
      return interruption;
    },
    reporter: {
      interactive: terminal.interactive,
      note: (...lines) => terminal.note(...lines),
      progress: (line) => terminal.progress(line),
      endProgress: () => terminal.endProgress(),
      event: output.ndjson ? (event) => terminal.jsonLine(event) : undefined,
    },
  });
  const { document, end, summary } = result;
  const status =
    end.kind === 'aborted' ? EXIT.unreachable : (interruptions[0]?.status ?? exitCodeOf(document));
  if (output.ndjson) terminal.jsonLine(endEvent(document, status, summary));
  else if (output.json) terminal.json(document);
  else terminal.print(...summaryLines(result, parts));
  if (end.kind === 'aborted') throw end.error;
  process.exitCode = status;
}
