import { Command } from 'commander';
import { capacityPage } from '../../analysis/capacity/page.ts';
import { capacityLines, isFound } from '../../analysis/capacity/view.ts';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from '../../app/capacity/options.ts';
import { type CapacityPlan, capacityPlanLines, planCapacity } from '../../app/capacity/plan.ts';
import { encryptionKeyOf, openForReplay } from '../../app/open-capture.ts';
import { pageAssets } from '../../app/package.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, toggle } from '../../core/options.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import { EXIT } from '../exit.ts';
import { addOptions, askedOf } from '../options.ts';
import { formOption, outputsOf, writeOutputs } from '../output.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
};
const OPTIONS = { ...CAPACITY_OPTIONS, ...OUTPUTS };

/** `reprise capacity CAPTURE`: how much more than the recorded traffic a target stands. */
export function capacityCommand(): Command {
  return addOptions(new Command('capacity'), OPTIONS)
    .description(
      'Find the breaking point: the multiplier of the recorded traffic at which the target breaks an objective. ' +
        'A search that was stopped goes on with the same command and --out.',
    )
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await capacity(directory, command);
    });
}

async function capacity(directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, OPTIONS);
  const problems = new Problems();
  const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), ['html'], problems);
  const options = resolveCapacityOptions(asked, problems);
  const { run } = options;
  const opened = openForReplay(directory, encryptionKeyOf(run), run.options.window.recorders);
  try {
    const plan = planCapacity(opened, options);
    const { target, dryRun } = run.options;
    if (!options.simulates) {
      terminal.note(...capacityPlanLines(plan));
      if (dryRun || target === null) return;
    }
    const { document, status } = await found(plan, command);
    writeOutputs(
      {
        json: document,
        text: () => capacityLines(document),
        rendered: { html: { called: 'page', render: () => capacityPage(document, pageAssets()) } },
      },
      outputs,
      terminal,
    );
    process.exitCode = status;
  } finally {
    opened.source.close();
  }
}

async function found(plan: CapacityPlan, command: Command) {
  const { run, simulates } = plan.options;
  const { target } = run.options;
  if (simulates || target === null) {
    const { simulateCapacity } = await import('../../app/capacity/simulate.ts');
    const document = simulateCapacity(plan);
    return { document, status: statusOf(document) };
  }
  const { loggerOf } = await import('../logger.ts');
  return search(plan, target, loggerOf(command));
}

type Target = NonNullable<CapacityPlan['options']['run']['options']['target']>;

async function search(
  plan: CapacityPlan,
  target: Target,
  logger: ReturnType<typeof import('../logger.ts').loggerOf>,
) {
  const { searchCapacity } = await import('../../app/capacity/capacity.ts');
  const interruption = new Interruption();
  try {
    const document = await searchCapacity(plan, {
      target,
      logger,
      signal: interruption.signal,
      received: () => interruption.received,
      reporter: {
        interactive: terminal.interactive,
        note: (...lines) => terminal.note(...lines),
        progress: (line) => terminal.progress(line),
        endProgress: () => terminal.endProgress(),
      },
    });
    return { document, status: interruption.status ?? statusOf(document) };
  } finally {
    interruption.end();
  }
}

/** 5 for a target that is gone, whatever was found before; else 0 with an interval, 4 without. */
function statusOf(document: CapacityDocument) {
  if (isFound(document)) return EXIT.ok;
  const isGone = document.endedBy === 'target_failed' || document.endedBy === 'not_ready';
  return isGone ? EXIT.unreachable : EXIT.inconclusive;
}
