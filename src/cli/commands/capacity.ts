import { Command } from 'commander';
import { capacityPage } from '../../analysis/capacity/page.ts';
import { capacityScreen, capacityVerdict, capacityView, isFound } from '../../analysis/capacity/view.ts';
import { viewText } from '../../analysis/render/table.ts';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from '../../app/capacity/options.ts';
import { type CapacityPlan, capacityPlanLines, planCapacity } from '../../app/capacity/plan.ts';
import { encryptionKeyOf, openForReplay } from '../../app/open-capture.ts';
import { pageAssets } from '../../app/package.ts';
import { Problems } from '../../core/errors.ts';
import { grouped, type ResolvedOptions, readOptions, toggle } from '../../core/options.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import { statusOfSearch } from '../exit.ts';
import { LIVE_OPTIONS, refuseLive, ServedRun } from '../live.ts';
import { addOptions, askedOf } from '../options.ts';
import {
  DETAIL_OPTIONS,
  type DocumentForms,
  detailed,
  formOption,
  outputsOf,
  watchedBy,
  writeOutputs,
} from '../output.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = grouped('Output', {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
});
const OPTIONS = { ...CAPACITY_OPTIONS, ...OUTPUTS, ...LIVE_OPTIONS, ...DETAIL_OPTIONS };
const COMMON = [
  ...(['target', 'slo', 'peak', 'budget', 'maxMultiplier', 'replicas'] as const),
  ...(['simulate', 'header', 'out', 'json', 'quiet', 'verbose'] as const),
];

/** `reprise capacity CAPTURE`: the multiple of the recorded traffic that a target can serve. */
export function capacityCommand(): Command {
  return addOptions(new Command('capacity'), OPTIONS, COMMON)
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
  const live = readOptions(LIVE_OPTIONS, asked, problems);
  const detail = readOptions(DETAIL_OPTIONS, asked, problems);
  if (asked.stated.simulate) refuseLive(asked, '--simulate', problems);
  if (asked.stated.dryRun) refuseLive(asked, '--dry-run', problems);
  const options = resolveCapacityOptions(asked, problems);
  const { run } = options;
  const opened = openForReplay(directory, encryptionKeyOf(run), run.options.window.recorders);
  try {
    const plan = planCapacity(opened, options);
    const { target, dryRun } = run.options;
    if (!options.simulates) {
      watchedBy(terminal, detail).note(...capacityPlanLines(plan));
      if (dryRun || target === null) return;
    }
    const served = options.simulates ? null : await ServedRun.start(live, 'Capacity', options.thresholds);
    try {
      const { document, status } = await found(plan, command, served, detail);
      writeOutputs(formsOf(document, detail), outputs, terminal);
      process.exitCode = status;
      if (document.endedBy !== 'interrupted')
        await served?.stay(async () => (assets) => capacityPage(document, assets));
    } finally {
      served?.close();
    }
  } finally {
    opened.source.close();
  }
}

function formsOf(document: CapacityDocument, detail: Detail): DocumentForms<'html'> {
  return {
    json: document,
    text: () =>
      detailed(detail, {
        verdict: () => capacityVerdict(document),
        screen: () => capacityScreen(document),
        all: () => [...viewText(capacityView(document)), '', `Kept in ${document.directory}`],
      }),
    rendered: { html: { called: 'page', render: () => capacityPage(document, pageAssets()) } },
  };
}

async function found(plan: CapacityPlan, command: Command, served: ServedRun | null, detail: Detail) {
  const { run, simulates } = plan.options;
  const { target } = run.options;
  if (simulates || target === null) {
    const { simulateCapacity } = await import('../../app/capacity/simulate.ts');
    const document = simulateCapacity(plan);
    return { document, status: statusOfSearch(document, isFound(document)) };
  }
  const { loggerOf } = await import('../logger.ts');
  return search(plan, target, loggerOf(command), served, detail);
}

type Detail = ResolvedOptions<typeof DETAIL_OPTIONS>;
type Target = NonNullable<CapacityPlan['options']['run']['options']['target']>;

async function search(
  plan: CapacityPlan,
  target: Target,
  logger: ReturnType<typeof import('../logger.ts').loggerOf>,
  served: ServedRun | null,
  detail: Detail,
) {
  const { searchCapacity } = await import('../../app/capacity/capacity.ts');
  const interruption = new Interruption();
  try {
    const document = await searchCapacity(plan, {
      target,
      logger,
      signal: interruption.signal,
      received: () => interruption.received,
      onStep: (step) => served?.page.addStep(step),
      reporter: {
        ...watchedBy(terminal, detail),
        event: served === null ? undefined : (event) => served.page.add(event),
      },
    });
    return { document, status: interruption.status ?? statusOfSearch(document, isFound(document)) };
  } finally {
    interruption.end();
  }
}
