import { Command } from 'commander';
import { verdictLines } from '../../analysis/render/screen.ts';
import { columnsOf, tableLines, viewText } from '../../analysis/render/table.ts';
import { runScreen } from '../../analysis/report/screen.ts';
import { runView } from '../../analysis/report/view.ts';
import { MERGE_OPTIONS, mergeRuns, resolveMergeOptions } from '../../app/merge.ts';
import { toggle } from '../../core/options.ts';
import { formatMs } from '../../core/units.ts';
import type { MergedDocument } from '../../documents/replay.ts';
import { EXIT, statusOfVerdict } from '../exit.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { calledAs, DETAIL_OPTIONS, detailed } from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUT = { json: toggle('--json', 'print one JSON document'), ...DETAIL_OPTIONS };
const OPTIONS = { ...MERGE_OPTIONS, ...OUTPUT };

/** `reprise merge RUN...`: merges the runs of all shards and judges them as one run. */
export function mergeCommand(): Command {
  return addOptions(new Command('merge'), OPTIONS)
    .description('Merge the runs of all shards of a replay and judge them as one run.')
    .argument('<run...>', 'directories of runs written by replay --shard')
    .action(async (directories: string[], _: object, command: Command) => {
      // Resolved before waiting for runs, so that an invalid command line is reported at once.
      const options = resolveMergeOptions(askedOf(command, OPTIONS));
      const { directory, document, stoppedByFailures, told } = await mergeRuns(directories, options, {
        onWaiting: (open, of) => terminal.progress(`waiting for ${open.length} of ${of} runs: ${open[0]}`),
        onLeftOut: (open) => terminal.note(`Not sealed in time and excluded: ${open.join(', ')}`),
      });
      terminal.note(...told);
      const output = optionsOf(command, OUTPUT);
      const view = runView(document, directory, calledAs());
      if (output.json) terminal.json(document);
      else {
        const lines = detailed(output, {
          verdict: () => verdictLines(view),
          screen: () => runScreen(document, directory, calledAs()),
          all: () => [
            ...viewText(view, 'brief'),
            ...mergedLines(document.merged),
            '',
            `Run ${document.run}: ${directory}`,
          ],
        });
        terminal.print(...lines);
      }
      process.exitCode = stoppedByFailures ? EXIT.unreachable : statusOfVerdict(document);
    });
}

const FIGURES = ['started late', 'clock drift', 'planned', 'sent', 'failed', 'refused', 'lag p99'];

/** The shards of a merged run for people. */
function mergedLines({ count, missing, shards, clockSkew, planDigest }: MergedDocument): string[] {
  const ms = (us: number | null) => (us === null ? '–' : formatMs(us / 1e3));
  const { startSpreadUs, driftMaxUs, betweenHostsUs } = clockSkew;
  return [
    '',
    `Shards: ${shards.length} of ${count}, plan ${planDigest.slice(0, 12)}${missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`}`,
    ...tableLines(
      columnsOf(['shard', 'host'], FIGURES),
      shards.map((shard) => [
        String(shard.index),
        shard.host,
        ms(shard.startedLateUs),
        ms(shard.clockDriftUs),
        ...[shard.planned, shard.sent, shard.failed, shard.refused].map(String),
        ms(shard.lagUs.p99),
      ]),
    ).map((line) => `  ${line}`),
    `  clocks: start times differ by ${ms(startSpreadUs)} on the hosts' own clocks; wall clock drift while sending is at most ${ms(driftMaxUs)};`,
    betweenHostsUs === null
      ? '    the offset between clocks of different hosts is unknown: synchronize them with NTP or PTP'
      : '    all shards ran under one kernel with one clock',
  ];
}
