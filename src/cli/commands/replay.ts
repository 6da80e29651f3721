import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { countedPlanLines, planLines, planTitle } from '../../analysis/plan/view.ts';
import { RUN_OPTIONS, resolveRunOptions } from '../../app/replay/options.ts';
import { beyondSenders } from '../../app/replay/plan.ts';
import { askedPlan } from '../../app/replay/planned-replay.ts';
import { endEvent } from '../../app/replay/progress.ts';
import { replayCapture } from '../../app/replay/replay.ts';
import type { ReplayRunResult } from '../../app/replay/run.ts';
import { Problems } from '../../core/errors.ts';
import { askedFor, type ResolvedOptions, readOptions, resolveOptions } from '../../core/options.ts';
import type { ReplayEvent } from '../../documents/events.ts';
import { OUTPUT_OPTIONS } from '../../replay/options/replay-flags.ts';
import { EXIT, statusOfVerdict } from '../exit.ts';
import { hasLivePage, LIVE_OPTIONS, refuseLive, ServedRun } from '../live.ts';
import { addOptions, askedOf } from '../options.ts';
import { calledAs, DETAIL_OPTIONS, detailed, watchedBy } from '../output.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const PRINTED = { ...OUTPUT_OPTIONS, ...DETAIL_OPTIONS };
const OPTIONS = { ...RUN_OPTIONS, ...DETAIL_OPTIONS, ...LIVE_OPTIONS };
const COMMON = [
  ...(['target', 'multiplier', 'slo', 'peak', 'duration', 'stages'] as const),
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
  const runOptions = resolveRunOptions(asked);
  const { options } = runOptions;
  const printed = resolveOptions(PRINTED, askedFor(PRINTED, asked));
  const problems = new Problems();
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
