import type { Fidelity } from '../analysis/run/fidelity.ts';
import { reachedText } from '../analysis/verdict/run-context.ts';
import { countedMultipliers, countedReasons, type DryRunOutcome } from '../app/replay/dry-run.ts';
import type { ReplayPlan } from '../app/replay/plan.ts';
import { playedLines, unfilteredLines } from '../app/replay/windows.ts';
import { formatMs, formatMultiplier } from '../core/units.ts';
import { IDC_WINDOWS, type IdcWindow } from '../documents/parts.ts';
import type { ArrivalFigures } from '../documents/replay.ts';
import type { ReplayOptions } from '../replay/options/replay-options.ts';
import { scalingCountLines } from '../replay/plan/describe-scaling.ts';
import {
  PAYLOAD_FINDING_TEXTS,
  PAYLOAD_FINDINGS,
  type PayloadAudit,
  type PlanCount,
} from '../replay/plan/dry-run.ts';
import { tableLines } from './terminal.ts';

/** What a dry run found, for people, behind what was known before. */
export function dryRunLines({ plan, report, fidelity, playback }: DryRunOutcome): string[] {
  const { overview, window, options } = plan;
  const { connections, audit } = report;
  const inWindow = fidelity.recorded.count + playback.filtered;
  const skipped = Object.entries(audit.skipped).filter(([, count]) => count > 0);
  // Counted by sends, of which copies have their own. Where arrivals are alone, theirs are planned all the same.
  const skippedSends = skipped.reduce(
    (sum, [reason, count]) => sum + (overview.arrivalsOnly && reason === 'no_payload' ? 0 : count),
    0,
  );
  const sends = fidelity.planned.count + skippedSends;
  return [
    `  connections in use at once: ${connections === null ? 'not known: no recorded latency' : `up to ${connections}, if the target is as fast as what was recorded`}`,
    '',
    'Arrivals',
    ...arrivalLines(fidelity),
    ...unfilteredLines(fidelity),
    ...playedLines(window, playback),
    ...countedLines(plan, report.whole),
    '',
    'What will not be sent',
    ...emptyShardLines(options, fidelity.planned.count, skippedSends),
    ...(skipped.length + playback.filtered === 0 ? ['  nothing is left out by its facts'] : []),
    ...skipped.map(([reason, count]) => `  ${reason}: ${count} of ${sends}`),
    ...(playback.filtered === 0 ? [] : [`  filtered: ${playback.filtered} of ${inWindow}`]),
    ...(overview.arrivalsOnly ? ['  This capture has no requests: it can be planned, not replayed.'] : []),
    ...rateLines(options.maxRatePerSecond, report.refusedForRate, fidelity.planned.count),
    ...payloadLines(report.payloads),
    ...scalingCountLines(report.scaling),
  ];
}

/** A good plan, of which none of the sessions fell to this shard. */
function emptyShardLines({ shard }: ReplayOptions, planned: number, skipped: number): string[] {
  if (shard === null || planned + skipped > 0) return [];
  return [`  this shard plays nothing: nothing of the plan fell to ${shard.index}/${shard.count}`];
}

/** The ceiling that was stated: what it is alone for is known before anything is sent. */
function rateLines(maxRate: number | null, refused: number, planned: number): string[] {
  if (maxRate === null) return [];
  const what = refused === 0 ? 'nothing' : `${refused} of ${planned} planned, and counts them`;
  return [`  --max-rate ${maxRate} refuses ${what}`];
}

function arrivalLines({ recorded, planned, recordedToPlanned, duplicates }: Fidelity): string[] {
  const text = (value: number | null, digits: number) => (value === null ? '–' : value.toFixed(digits));
  const row = (name: string, value: (figures: ArrivalFigures) => number | null, digits: number) => [
    `  ${name}`,
    text(value(recorded), digits),
    text(value(planned), digits),
  ];
  return [
    ...tableLines(
      [{ title: '' }, { title: 'recorded', align: 'right' }, { title: 'planned', align: 'right' }],
      [
        row('exchanges', ({ count }) => count, 0),
        row('requests/s', ({ ratePerSecond }) => ratePerSecond, 3),
        row('peak 1 s', ({ peak1s }) => peak1s, 0),
        row('CV of gaps', ({ cv }) => cv, 3),
        ...IDC_WINDOWS.map((window: IdcWindow) => row(`IDC ${window} s`, ({ idc }) => idc[window], 3)),
        row('ties', ({ ties }) => ties, 4),
      ],
    ),
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
  const none =
    refused.length + findings.length === 0 ? [`  nothing was found in ${sampled} sampled payloads`] : [];
  return [
    ...refused,
    ...findings,
    ...none,
    `  answers that --check can compare by value: those of ${comparableAnswers} of ${sampled} sampled`,
  ];
}

/** The same for people, with where --max-requests ends the plan. */
function countedLines(plan: ReplayPlan, count: PlanCount): string[] {
  const multipliers = countedMultipliers(plan, count);
  const reached = reachedText(multipliers);
  const asked = formatMultiplier(multipliers.multiplier);
  const { cappedAtNs } = count;
  return [
    ...(cappedAtNs === null
      ? []
      : [
          `  the plan ends after ${formatMs(cappedAtNs / 1e6)} of the run, with its requests: --max-requests`,
        ]),
    ...(reached === null ? [] : [`  the plan is ${reached}; asked for: ${asked}`]),
    ...countedReasons(plan, count).flatMap(({ code, advice }) => [
      `  WARNING: that is too little for a verdict of PASS, or for a valid run (${code})`,
      `    ${advice}`,
    ]),
  ];
}
