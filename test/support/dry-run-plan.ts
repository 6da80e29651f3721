import { expect } from 'vitest';
import { countedPlanLines, planLines } from '../../src/analysis/plan/view.ts';
import { openForReplay } from '../../src/app/open-capture.ts';
import { RUN_OPTIONS, resolveRunOptions } from '../../src/app/replay/options.ts';
import { askedPlan } from '../../src/app/replay/planned-replay.ts';
import { carryOut, planOpened } from '../../src/app/replay/replay.ts';
import { byProgram } from '../../src/core/options.ts';
import { type ReplayPlanDocument, replayPlanSchema } from '../../src/documents/replay-plan.ts';
import type { RawReplayOptions } from '../../src/replay/options/replay-options.ts';

/** The output of a dry run, as text and as a document. */
export interface DryRunPlan {
  readonly text: string;
  readonly document: ReplayPlanDocument;
}

/** Plans a capture as `replay --dry-run` does with these flags. */
export async function dryRunPlan(capture: string, flags: RawReplayOptions): Promise<DryRunPlan> {
  const asked = resolveRunOptions(byProgram(RUN_OPTIONS, { ...flags, dryRun: true }));
  const opened = openForReplay(capture, null, asked.options.window.recorders);
  try {
    const planned = await planOpened(opened, asked);
    const lines = planLines(askedPlan(planned));
    const result = await carryOut(planned, NOTHING_SENT);
    if (result.kind !== 'planned') throw new Error('a dry run sent something');
    const { document } = result;
    // Parsing drops members that the schema does not have, so this finds unknown members.
    expect(replayPlanSchema.parse(document)).toEqual(document);
    return { text: [...lines, ...countedPlanLines(document)].join('\n'), document };
  } finally {
    opened.source.close();
  }
}

function unexpected(): never {
  throw new Error('a dry run has no run to watch');
}

const NOTHING_SENT = {
  listen: unexpected,
  reporter: { interactive: false, note: unexpected, progress: unexpected, endProgress: unexpected },
  logger: { info: unexpected, warn: unexpected, error: unexpected },
};
