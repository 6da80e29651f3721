import { Command } from 'commander';
import { capacityPage } from '../../analysis/capacity/page.ts';
import {
  capacityPlanLines,
  capacityScreen,
  capacityVerdict,
  capacityView,
  isFound,
} from '../../analysis/capacity/view.ts';
import { viewText } from '../../analysis/render/table.ts';
import { findCapacity } from '../../app/capacity/capacity.ts';
import { CAPACITY_OPTIONS, resolveCapacityOptions } from '../../app/capacity/options.ts';
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
  ...(['target', 'slo', 'window', 'budget', 'multiplier', 'replicas'] as const),
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
  const watcher = watchedBy(terminal, detail);
  let served = null as ServedRun | null;
  let interruption = null as Interruption | null;
  try {
    const document = await findCapacity(directory, options, {
      logger: (await import('../logger.ts')).loggerOf(command),
      listen: () => {
        interruption = new Interruption();
        return interruption;
      },
      onPlan: async (plan) => {
        watcher.note(...capacityPlanLines(plan));
        if (!options.run.options.dryRun) served = await ServedRun.start(live, 'Capacity', options.objectives);
      },
      onStep: (step) => served?.page.addStep(step),
      reporter: { ...watcher, event: (event) => served?.page.add(event) },
    });
    if (document.kind === 'capacity_plan') {
      if (asked.stated.json) terminal.json(document);
      return;
    }
    writeOutputs(formsOf(document, detail), outputs, terminal);
    process.exitCode = interruption?.status ?? statusOfSearch(document, isFound(document));
    if (document.endedBy !== 'interrupted')
      await served?.stay(async () => (assets) => capacityPage(document, assets));
  } finally {
    served?.close();
  }
}

function formsOf(
  document: CapacityDocument,
  detail: ResolvedOptions<typeof DETAIL_OPTIONS>,
): DocumentForms<'html'> {
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
