import { setImmediate } from 'node:timers/promises';
import { Command } from 'commander';
import { verdictLines } from '../../analysis/render/screen.ts';
import { columnsOf, tableLines } from '../../analysis/render/table.ts';
import { runScreen } from '../../analysis/report/screen.ts';
import { runView } from '../../analysis/report/view.ts';
import type { Fidelity } from '../../analysis/run/fidelity.ts';
import { reachedText } from '../../analysis/verdict/run-context.ts';
import { encryptionKeyOf, type OpenedCapture, openForReplay } from '../../app/open-capture.ts';
import { requireComparableAnswers } from '../../app/replay/document.ts';
import { countedMultipliers, countedReasons, type DryRunOutcome } from '../../app/replay/dry-run.ts';
import { faultPlanLines } from '../../app/replay/fault-player.ts';
import {
  chooseReplay,
  planLines,
  planOf,
  planTitle,
  preludeOf,
  type ReplayPlan,
} from '../../app/replay/plan.ts';
import {
  faultPlanOf,
  RUN_OPTIONS,
  resolveRunOptions,
  runPartsOf,
  thresholdsOf,
} from '../../app/replay/prepare.ts';
import { endEvent, type ReplayReporter } from '../../app/replay/progress.ts';
import type { ReplayRunParts } from '../../app/replay/run.ts';
import { looksOf, needLines, objectiveLines } from '../../app/replay/until-sure.ts';
import { playedLines, unfilteredLines } from '../../app/replay/windows.ts';
import { makeReady } from '../../app/verdict-outputs.ts';
import { Problems } from '../../core/errors.ts';
import { askedFor, type ResolvedOptions, readOptions, resolveOptions } from '../../core/options.ts';
import { linesOf } from '../../core/text.ts';
import { formatMs, formatMultiplier } from '../../core/units.ts';
import type { Threshold } from '../../documents/metrics/objectives.ts';
import { IDC_WINDOWS, type IdcWindow } from '../../documents/parts.ts';
import type { ArrivalFigures } from '../../documents/replay.ts';
import { OUTPUT_OPTIONS } from '../../replay/options/replay-options.ts';
import { scalingCountLines } from '../../replay/plan/describe-scaling.ts';
import { PAYLOAD_FINDING_TEXTS, PAYLOAD_FINDINGS, type PayloadAudit } from '../../replay/plan/dry-run.ts';
import type { Playback } from '../../replay/window/playback.ts';
import { EXIT, statusOfVerdict } from '../exit.ts';
import { LIVE_OPTIONS, refuseLive, ServedRun } from '../live.ts';
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
  const { json } = printed;
  // If this run fails from here on, the verdict of an earlier run must not remain.
  if (!options.dryRun) makeReady(runOptions);
  const opened = openForReplay(directory, encryptionKeyOf(runOptions), options.window.recorders);
  try {
    const choice = chooseReplay(opened, options);
    // Printed before the roll-ups of a long capture are summed, so that the user sees progress at once.
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
              faultPlanOf(runOptions.faults, plan, preludeOf(plan, choice.source, opened.source)),
            );
      if (failing !== null && !json) terminal.print(...failing);
      const thresholds = thresholdsOf(options, runOptions.monitors);
      await showPlan(plan, choice.source, opened, { thresholds, json });
      return;
    }
    const { loggerOf } = await import('../logger.ts');
    const planned = { choice, plan, target: options.target };
    const parts = runPartsOf(runOptions, opened, planned, loggerOf(command));
    const served = await ServedRun.start(live, 'Replay', parts.thresholds);
    try {
      await play(parts, printed, served);
    } finally {
      served?.close();
    }
  } finally {
    opened.source.close();
  }
}

/** Prints what a replay would do. */
async function showPlan(
  plan: ReplayPlan,
  source: Playback,
  opened: OpenedCapture,
  { thresholds, json }: { readonly thresholds: readonly Threshold[]; readonly json: boolean },
): Promise<void> {
  const { dryRunDocument, planWindow } = await import('../../app/replay/dry-run.ts');
  requireComparableAnswers(plan, thresholds, source);
  const outcome = await planWindow(plan, source, opened.source, (prelude) => {
    if (json) return;
    const looks = looksOf(plan, prelude, thresholds);
    terminal.print(
      ...planLines(plan, prelude),
      ...objectiveLines(thresholds),
      ...needLines(plan, prelude, thresholds, looks),
    );
  });
  if (json) {
    const looks = looksOf(plan, outcome.prelude, thresholds);
    terminal.json(dryRunDocument(outcome, opened.identity, thresholds, looks));
  } else terminal.print(...dryRunLines(outcome), ...targetLines(plan));
}

/**
 * Runs the replay, prints its summary and sets the exit status of its verdict.
 * @throws AppError the error that ended the run, after the summary was printed
 */
async function play(
  parts: Omit<ReplayRunParts, 'listen' | 'reporter'>,
  output: ResolvedOptions<typeof PRINTED>,
  served: ServedRun | null,
): Promise<void> {
  // The modules that send are half of the program, and a plan needs none of them.
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
      ...watchedBy(terminal, output),
      event: eventOf(output.ndjson, served),
    },
  });
  const { document, end, summary, directory } = result;
  const status =
    end.kind === 'aborted' ? EXIT.unreachable : (interruptions[0]?.status ?? statusOfVerdict(document));
  if (output.ndjson) terminal.jsonLine(endEvent(document, status, summary));
  else if (output.json) terminal.json(document);
  else {
    const lines = detailed(output, {
      verdict: () => verdictLines(runView(document)),
      screen: () => runScreen(document, directory, calledAs()),
      all: () => summaryLines(result, parts),
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

/** Passes events to stdout and the live page. Undefined if neither is requested. */
function eventOf(ndjson: boolean, served: ServedRun | null): ReplayReporter['event'] {
  if (!ndjson && served === null) return undefined;
  return (event) => {
    if (ndjson) terminal.jsonLine(event);
    served?.page.add(event);
  };
}

/** A plan opens no connection to the target, because a server may accept only one. */
function targetLines({ options: { target } }: ReplayPlan): string[] {
  return linesOf(target !== null && `Target not tried: ${target.url}. A run connects to it before it sends.`);
}

/** The result of a dry run as text, without the lines that were printed before it. */
export function dryRunLines(outcome: DryRunOutcome): string[] {
  const { plan, report, fidelity, playback } = outcome;
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
    countedLines(outcome),
    ['', 'What will not be sent'],
    shard !== null &&
      sends === 0 &&
      `  this shard plays nothing: no session is assigned to shard ${shard.index}/${shard.count}`,
    skipped.length + playback.filtered === 0 && '  no exchange is excluded by a filter',
    skipped.map(([reason, count]) => `  ${reason}: ${count} of ${sends}`),
    playback.filtered > 0 && `  filtered: ${playback.filtered} of ${inWindow}`,
    overview.arrivalsOnly && '  This capture has no requests: it can be planned, not replayed.',
    // The requests that --max-rate refuses are known before anything is sent.
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
      row('most in 1 s, counted from the first', ({ peak1s }) => peak1s, 0),
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
    `  answers that --compare-responses can compare by value: those of ${comparableAnswers} of ${sampled} sampled`,
  );
}

/** The counts as text, and where --max-requests ends the plan. */
function countedLines(counted: DryRunOutcome): string[] {
  const multipliers = countedMultipliers(counted);
  const reached = reachedText(multipliers);
  const asked = formatMultiplier(multipliers.multiplier);
  const { cappedAtNs } = counted.report.whole;
  return linesOf(
    cappedAtNs !== null &&
      `  the plan ends after ${formatMs(cappedAtNs / 1e6)} of the run, with its requests: --max-requests`,
    reached !== null && `  the plan is ${reached}; asked for: ${asked}`,
    countedReasons(counted).flatMap(({ code, advice }) => [
      `  WARNING: not enough for a verdict of PASS or a valid run (${code})`,
      `    ${advice}`,
    ]),
  );
}
