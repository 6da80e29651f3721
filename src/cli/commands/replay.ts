import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import type { Fidelity } from '../../analysis/run/fidelity.ts';
import { reachedText } from '../../analysis/verdict/run-context.ts';
import { exitCodeOf } from '../../analysis/verdict/verdict.ts';
import { encryptionKeyOf, type OpenedCapture, openForReplay } from '../../app/open-capture.ts';
import { countedMultipliers, countedReasons, type DryRunOutcome } from '../../app/replay/dry-run.ts';
import { faultPlanLines } from '../../app/replay/fault-player.ts';
import {
  chooseReplay,
  leadInOf,
  planLines,
  planOf,
  planTitle,
  type ReplayPlan,
} from '../../app/replay/plan.ts';
import { faultPlanOf, RUN_OPTIONS, resolveRunOptions, runPartsOf } from '../../app/replay/prepare.ts';
import { endEvent } from '../../app/replay/progress.ts';
import type { ReplayRunParts } from '../../app/replay/run.ts';
import { playedLines, unfilteredLines } from '../../app/replay/windows.ts';
import { makeReady } from '../../app/verdict-outputs.ts';
import { askedFor, resolveOptions } from '../../core/options.ts';
import { linesOf } from '../../core/text.ts';
import { formatMs, formatMultiplier } from '../../core/units.ts';
import { IDC_WINDOWS, type IdcWindow } from '../../documents/parts.ts';
import type { ArrivalFigures } from '../../documents/replay.ts';
import { OUTPUT_OPTIONS } from '../../replay/options/replay-options.ts';
import { scalingCountLines } from '../../replay/plan/describe-scaling.ts';
import {
  PAYLOAD_FINDING_TEXTS,
  PAYLOAD_FINDINGS,
  type PayloadAudit,
  type PlanCount,
} from '../../replay/plan/dry-run.ts';
import type { Playback } from '../../replay/window/playback.ts';
import { EXIT } from '../exit.ts';
import { addOptions, askedOf } from '../options.ts';
import { Interruption } from '../signals.ts';
import { terminal } from '../terminal.ts';

export function replayCommand(): Command {
  return addOptions(new Command('replay'), RUN_OPTIONS)
    .description(
      'Replay a capture against a target at a multiple of its recorded rate, and judge the result.',
    )
    .argument('<capture>', 'the directory of a capture')
    .action(async (directory: string, _: object, command: Command) => {
      await replay(directory, command);
    });
}

async function replay(directory: string, command: Command): Promise<void> {
  const asked = askedOf(command, RUN_OPTIONS);
  const runOptions = resolveRunOptions(asked);
  const { options } = runOptions;
  const { json, ndjson } = resolveOptions(OUTPUT_OPTIONS, askedFor(OUTPUT_OPTIONS, asked));
  // Whatever comes to nothing from here on must not leave the verdict of an earlier run.
  if (!options.dryRun) makeReady(runOptions);
  const opened = openForReplay(directory, encryptionKeyOf(runOptions), options.window.recorders);
  try {
    const choice = chooseReplay(opened, options);
    // Before the roll-ups of a long capture are summed: the reader sees at once that something happens.
    if (options.dryRun && !json) {
      terminal.print(planTitle(choice));
      await setImmediate();
    }
    const plan = planOf(choice);
    if (options.dryRun || options.target === null) {
      const failing =
        runOptions.faults === null
          ? null
          : faultPlanLines(
              faultPlanOf(runOptions.faults, plan, leadInOf(plan, choice.source, opened.source)),
            );
      if (failing !== null && !json) terminal.print(...failing);
      await showPlan(plan, choice.source, opened, json);
      return;
    }
    const { loggerOf } = await import('../logger.ts');
    const planned = { choice, plan, target: options.target };
    await play(runPartsOf(runOptions, opened, planned, loggerOf(command)), { json, ndjson });
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
  const { dryRunDocument, planWindow } = await import('../../app/replay/dry-run.ts');
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
  parts: Omit<ReplayRunParts, 'listen' | 'reporter'>,
  output: { readonly json: boolean; readonly ndjson: boolean },
): Promise<void> {
  // What sends is half of all there is, and a plan needs none of it.
  const { runReplay, summaryLines } = await import('../../app/replay/run.ts');
  const interruptions: Interruption[] = [];
  const result = await runReplay({
    ...parts,
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

/** What a dry run found, for people, behind what was known before. */
export function dryRunLines({ plan, report, fidelity, playback }: DryRunOutcome): string[] {
  const { overview, window, options } = plan;
  const { connections, audit } = report;
  const inWindow = fidelity.recorded.count + playback.filtered;
  const skipped = Object.entries(audit.skipped).filter(([, count]) => count > 0);
  // Counts sends, including those of copies. For a capture of arrivals only, all arrivals are planned.
  const skippedSends = skipped.reduce(
    (sum, [reason, count]) => sum + (overview.arrivalsOnly && reason === 'no_payload' ? 0 : count),
    0,
  );
  const sends = fidelity.planned.count + skippedSends;
  const { shard, maxRatePerSecond: maxRate } = options;
  const planned = fidelity.planned.count;
  const refused = report.refusedForRate;
  return linesOf(
    `  connections in use at once: ${connections === null ? 'not known: no recorded latency' : `up to ${connections}, if the target is as fast as what was recorded`}`,
    ['', 'Arrivals'],
    arrivalLines(fidelity),
    unfilteredLines(fidelity),
    playedLines(window, playback),
    countedLines(plan, report.whole),
    ['', 'What will not be sent'],
    shard !== null &&
      sends === 0 &&
      `  this shard plays nothing: no session is assigned to shard ${shard.index}/${shard.count}`,
    skipped.length + playback.filtered === 0 && '  no exchange is excluded by a filter',
    skipped.map(([reason, count]) => `  ${reason}: ${count} of ${sends}`),
    playback.filtered > 0 && `  filtered: ${playback.filtered} of ${inWindow}`,
    overview.arrivalsOnly && '  This capture has no requests: it can be planned, not replayed.',
    // What it is alone for is known before anything is sent.
    maxRate !== null &&
      `  --max-rate ${maxRate} refuses ${refused === 0 ? 'nothing' : `${refused} of ${planned} planned, and counts them`}`,
    payloadLines(report.payloads),
    scalingCountLines(report.scaling),
  );
}

function arrivalLines({ recorded, planned, recordedToPlanned, duplicates }: Fidelity): string[] {
  const text = (value: number | null, digits: number) => (value === null ? '–' : value.toFixed(digits));
  const row = (name: string, value: (figures: ArrivalFigures) => number | null, digits: number) => [
    `  ${name}`,
    text(value(recorded), digits),
    text(value(planned), digits),
  ];
  return [
    ...tableLines(columnsOf([''], ['recorded', 'planned']), [
      row('exchanges', ({ count }) => count, 0),
      row('requests/s', ({ ratePerSecond }) => ratePerSecond, 3),
      row('peak 1 s', ({ peak1s }) => peak1s, 0),
      row('CV of gaps', ({ cv }) => cv, 3),
      ...IDC_WINDOWS.map((window: IdcWindow) => row(`IDC ${window} s`, ({ idc }) => idc[window], 3)),
      row('ties', ({ ties }) => ties, 4),
    ]),
    `  gaps recorded to planned: KS ${text(recordedToPlanned.ksGaps, 4)}; mix ${text(recordedToPlanned.mixDistance, 4)}; duplicates ${text(duplicates.ratio, 4)}`,
  ];
}

function payloadLines({ sampled, comparableAnswers, found, unreplayableByReason }: PayloadAudit): string[] {
  if (sampled === 0) return ['  no payload was looked into'];
  const refused = Object.entries(unreplayableByReason).map(
    ([reason, count]) => `  unreplayable (${reason}): ${count} of ${sampled} sampled`,
  );
  const findings = PAYLOAD_FINDINGS.filter((finding) => found[finding] > 0).map(
    (finding) => `  ${finding}: ${found[finding]} of ${sampled} sampled: ${PAYLOAD_FINDING_TEXTS[finding]}`,
  );
  return linesOf(
    refused,
    findings,
    refused.length + findings.length === 0 && `  nothing was found in ${sampled} sampled payloads`,
    `  answers that --check can compare by value: those of ${comparableAnswers} of ${sampled} sampled`,
  );
}

/** The same for people, with where --max-requests ends the plan. */
function countedLines(plan: ReplayPlan, count: PlanCount): string[] {
  const multipliers = countedMultipliers(plan, count);
  const reached = reachedText(multipliers);
  const asked = formatMultiplier(multipliers.multiplier);
  const { cappedAtNs } = count;
  return linesOf(
    cappedAtNs !== null &&
      `  the plan ends after ${formatMs(cappedAtNs / 1e6)} of the run, with its requests: --max-requests`,
    reached !== null && `  the plan is ${reached}; asked for: ${asked}`,
    countedReasons(plan, count).flatMap(({ code, advice }) => [
      `  WARNING: not enough for a verdict of PASS or a valid run (${code})`,
      `    ${advice}`,
    ]),
  );
}
