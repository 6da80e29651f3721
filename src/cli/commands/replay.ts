import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { alternationLine, countedPlanLines, planLines, planTitle } from '../../analysis/plan/view.ts';
import {
  type Alternation,
  isAlternated,
  REPLAYED_OPTIONS,
  replayAlternately,
  resolveReplayed,
} from '../../app/replay/alternation.ts';
import { beyondSenders } from '../../app/replay/plan.ts';
import { endEvent } from '../../app/replay/progress.ts';
import { replayCapture } from '../../app/replay/replay.ts';
import type { ReplayRunResult } from '../../app/replay/run.ts';
import { Problems } from '../../core/errors.ts';
import { askedFor, type ResolvedOptions, readOptions, resolveOptions } from '../../core/options.ts';
import type { ReplayEvent } from '../../documents/events.ts';
import { OUTPUT_OPTIONS } from '../../replay/options/replay-flags.ts';
import { EXIT, statusOfComparison, statusOfVerdict } from '../exit.ts';
import { hasLivePage, LIVE_OPTIONS, refuseLive, ServedRun } from '../live.ts';
import { addOptions, askedOf } from '../options.ts';
import { calledAs, DETAIL_OPTIONS, detailed, watchedBy } from '../output.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const PRINTED = { ...OUTPUT_OPTIONS, ...DETAIL_OPTIONS };
const OPTIONS = { ...REPLAYED_OPTIONS, ...DETAIL_OPTIONS, ...LIVE_OPTIONS };
const COMMON = [
  ...(['target', 'repeat', 'multiplier', 'slo', 'window', 'duration', 'stages'] as const),
  ...(['header', 'dryRun', 'out', 'json', 'quiet', 'verbose'] as const),
];

export function replayCommand(): Command {
  return addOptions(new Command('replay'), OPTIONS, COMMON)
    .description(
      'Replay a capture against a target at a multiple of its recorded rate, and judge the result.',
    )
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await replay(directory, command);
    });
}

async function replay(directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const runOptions = resolveReplayed(asked);
  const printed = resolveOptions(PRINTED, askedFor(PRINTED, asked));
  const problems = new Problems();
  if (isAlternated(runOptions)) {
    refuseLive(askedFor(LIVE_OPTIONS, asked), 'two targets', problems);
    if (printed.ndjson) problems.add('--ndjson cannot be combined with two targets', 'Use --json.');
    problems.throwIfAny();
    await alternate(directory, runOptions, printed, command);
    return;
  }
  const { options } = runOptions;
  const live = readOptions(LIVE_OPTIONS, askedFor(LIVE_OPTIONS, asked), problems);
  if (options.dryRun) refuseLive(askedFor(LIVE_OPTIONS, asked), '--dry-run', problems);
  problems.throwIfAny();
  const isText = options.dryRun && !printed.json;
  let served = null as ServedRun | null;
  let interruption = null as Interruption | null;
  try {
    const replayed = await replayCapture(directory, runOptions, {
      logger: (await import('../logger.ts')).loggerOf(command),
      onChoice: async (facts) => {
        if (isText) terminal.print(planTitle(facts));
        await setImmediate();
      },
      onPlan: async (planned) => {
        const { askedPlan } = await import('../../app/replay/planned-replay.ts');
        if (isText) terminal.print(...planLines(askedPlan(planned)));
        const tooFast = planned.target === null ? beyondSenders(planned.plan, planned.source) : null;
        if (tooFast !== null) terminal.note(`warning: ${tooFast.message}`, `  hint: ${tooFast.hint}`);
        if (planned.target !== null) served = await ServedRun.start(live, 'Replay', planned.objectives);
      },
      listen: () => {
        interruption = new Interruption();
        return interruption;
      },
      reporter: {
        ...watchedBy(terminal, printed),
        ...(printed.ndjson || hasLivePage(live) ? { event: (event) => tell(event, printed, served) } : {}),
      },
    });
    if (replayed.kind === 'planned') {
      if (printed.json) terminal.json(replayed.document);
      else terminal.print(...countedPlanLines(replayed.document));
      return;
    }
    await show(replayed, printed, interruption, served);
  } finally {
    served?.close();
  }
}

/** Replays against two targets in turn and prints their comparison. */
async function alternate(
  directory: string,
  alternation: Alternation,
  printed: ResolvedOptions<typeof PRINTED>,
  command: Command,
): Promise<void> {
  const { askedPlan } = await import('../../app/replay/planned-replay.ts');
  let interruption = null as Interruption | null;
  const isText = alternation.sides.A.options.dryRun && !printed.json;
  const replayed = await replayAlternately(directory, alternation, {
    logger: (await import('../logger.ts')).loggerOf(command),
    reporter: watchedBy(terminal, printed),
    listen: () => {
      interruption = new Interruption();
      return interruption;
    },
    onPlan: (planned, facts) => {
      const asked = askedPlan(planned);
      const target = facts.targets.join(' and ');
      const lines = [planTitle({ ...asked, target }), alternationLine(facts), ...planLines(asked)];
      if (isText) terminal.print(...lines);
      else if (!printed.json || planned.target !== null) watchedBy(terminal, printed).note(...lines);
    },
  });
  if (replayed.kind === 'planned') {
    const target = replayed.document.alternation?.targets.join(' and ') ?? null;
    if (printed.json) terminal.json(replayed.document);
    else terminal.print(...countedPlanLines({ ...replayed.document, target }));
    return;
  }
  const { comparison, end } = replayed;
  if (comparison !== null) {
    const { comparisonForms } = await import('./compare.ts');
    const forms = comparisonForms(comparison, 'UTC', printed);
    if (printed.json) terminal.json(forms.json);
    else terminal.print(...forms.text());
  } else terminal.note(`No comparison: one target has no run. Runs are kept in ${replayed.directory}`);
  process.exitCode =
    end.kind === 'aborted'
      ? EXIT.unreachable
      : (interruption?.status ?? (comparison === null ? EXIT.inconclusive : statusOfComparison(comparison)));
  if (end.kind === 'aborted') throw end.error;
}

/**
 * Prints the summary of a run and sets the exit status of its verdict.
 * @throws AppError the error that ended the run, after the summary was printed
 */
async function show(
  { document, end, summary, directory }: ReplayRunResult,
  output: ResolvedOptions<typeof PRINTED>,
  interruption: Interruption | null,
  served: ServedRun | null,
): Promise<void> {
  const status =
    end.kind === 'aborted' ? EXIT.unreachable : (interruption?.status ?? statusOfVerdict(document));
  if (output.ndjson) terminal.jsonLine(endEvent(document, status, summary));
  else if (output.json) terminal.json(document);
  else {
    const { verdictLines } = await import('../../analysis/render/screen.ts');
    const { runText } = await import('../../analysis/report/run-text.ts');
    const { runScreen } = await import('../../analysis/report/screen.ts');
    const { runView } = await import('../../analysis/report/view.ts');
    const lines = detailed(output, {
      verdict: () => verdictLines(runView(document)),
      screen: () => runScreen(document, directory, calledAs()),
      all: () => runText(document, directory),
    });
    terminal.print(...lines);
  }
  process.exitCode = status;
  if (end.kind !== 'interrupted') {
    await served?.stay(async () => {
      const { reportInThread } = await import('../../app/report.ts');
      const { reportPage } = await import('../../analysis/report/page.ts');
      const report = await reportInThread({ directory, capture: null });
      return (assets) => reportPage(report, assets);
    });
  }
  if (end.kind === 'aborted') throw end.error;
}

/** Passes an event to stdout and the live page. */
function tell(
  event: ReplayEvent,
  { ndjson }: ResolvedOptions<typeof PRINTED>,
  served: ServedRun | null,
): void {
  if (ndjson) terminal.jsonLine(event);
  served?.page.add(event);
}
