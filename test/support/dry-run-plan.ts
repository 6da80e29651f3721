import { openForReplay } from '../../src/app/open-capture.ts';
import { planWindow } from '../../src/cli/replay-dry-run.ts';
import {
  forecastFor,
  plannedSpanNs,
  scalingOf,
  slowestPace,
  stagedSpanNs,
} from '../../src/cli/replay-scaling.ts';
import { playbackOf, withinWindow } from '../../src/cli/replay-windows.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../src/replay/options.ts';
import { chooseWindow } from '../../src/replay/window.ts';
import { COMMAND_LINE_ALONE } from './option-sources.ts';

/** What a dry run of a capture says, to people and to programs. */
export interface DryRunPlan {
  readonly text: string;
  readonly document: object;
}

/** Plans a capture as `replay --dry-run` does with these flags. */
export async function dryRunPlan(capture: string, flags: RawReplayOptions): Promise<DryRunPlan> {
  const options = resolveReplayOptions({ dryRun: true, ...flags }, COMMAND_LINE_ALONE);
  const opened = openForReplay(capture, null, options.window.recorders);
  const chosen = chooseWindow(opened.overview, options.window, slowestPace(options), stagedSpanNs(options));
  const lines: string[] = [];
  const documents: object[] = [];
  try {
    for (const json of [false, true]) {
      const { overview } = withinWindow(opened, chosen);
      const source = playbackOf(opened.source, chosen, options.filters);
      const scaling = scalingOf(options, overview, source, chosen);
      const window = { ...chosen, plannedSpanNs: plannedSpanNs(scaling, chosen) };
      const forecast = forecastFor(overview, window, scaling, source);
      await planWindow({ options, overview, window, scaling, forecast }, source, opened.source, json, {
        print: (...more) => lines.push(...more),
        json: (document) => documents.push(document),
      });
    }
  } finally {
    opened.source.close();
  }
  return { text: lines.join('\n'), document: documents[0] as object };
}
