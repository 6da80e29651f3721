import { type Fidelity, FidelityStatistics } from '../analysis/fidelity.ts';
import type { Reason } from '../analysis/verdict/reasons.ts';
import {
  JUDGEMENT_BOUNDS,
  type PlanMultipliers,
  planMultipliers,
  reachedText,
} from '../analysis/verdict/run-context.ts';
import { planShort } from '../analysis/verdict/validity.ts';
import type { CaptureSource } from '../core/ports.ts';
import { formatMs, formatMultiplier } from '../core/units.ts';
import { IDC_WINDOWS, type IdcWindow } from '../documents/parts.ts';
import type { ArrivalFigures } from '../documents/replay.ts';
import { nothingSelected } from '../replay/capture-probe.ts';
import { type DryRunParts, type DryRunReport, dryRun, type PlanCount } from '../replay/dry-run.ts';
import { describeFilters } from '../replay/filters.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { PAYLOAD_FINDING_TEXTS, PAYLOAD_FINDINGS, type PayloadAudit } from '../replay/payload-audit.ts';
import { RateCeiling } from '../replay/rate-ceiling.ts';
import { RequestBuilder } from '../replay/request-builder.ts';
import { copyIdentityOf } from '../replay/scaling/arrivals.ts';
import { scalingCountLines } from '../replay/scaling/description.ts';
import { OpenSessions } from '../replay/sessions.ts';
import type { Playback } from '../replay/windows/playback.ts';
import { type LeadIn, leadInDocument, leadInOf, requestsLeft } from './lead-in.ts';
import { planDocument, planLines, type ReplayPlan } from './replay-plan.ts';
import { askedMultiplier, playedPace } from './replay-scaling.ts';
import { statedBounds } from './replay-trust-flags.ts';
import { playedLines, unfilteredLines, windowsDocument } from './replay-windows.ts';
import { tableLines } from './terminal.ts';

/** Where the findings go, as they come. */
export interface DryRunOutput {
  print(...lines: readonly string[]): void;
  json(document: object): void;
}

/**
 * Plans the window to its end, sends nothing, and tells what a replay would do.
 * @param source as the plan plays it
 * @param capture as it was opened
 * @throws AppError CAPTURE_EMPTY where nothing of it is selected; OPTION_INVALID where what is played before it leaves
 *   nothing to judge; CAPTURE_DAMAGED
 */
export async function planWindow(
  plan: ReplayPlan,
  source: Playback,
  capture: CaptureSource,
  json: boolean,
  output: DryRunOutput,
): Promise<void> {
  const leadIn = leadInOf(plan, source, capture);
  if (!json) output.print(...planLines(plan, leadIn));
  const statistics = new FidelityStatistics();
  source.hear((offsetUs) => statistics.addInWindow(offsetUs));
  const report = await dryRun(dryRunParts(plan, leadIn, source), {
    recorded: (row) => statistics.addRecorded(row),
    planned: (row, intendedOffsetNs) => statistics.addPlanned(row, intendedOffsetNs),
  });
  const fidelity = statistics.figures();
  // As the replay itself would be: a script that plans first learns it here.
  if (report.whole.recorded === 0) throw nothingSelected(describeFilters(plan.options.filters));
  if (json) output.json(dryRunDocument(plan, leadIn, report, fidelity, source));
  else output.print(...dryRunLines(plan, report, fidelity, source));
}

function dryRunParts(plan: ReplayPlan, leadIn: LeadIn, source: CaptureSource): DryRunParts {
  const { options, overview, window, forecast, scaling } = plan;
  const maxRequests = requestsLeft(plan, leadIn);
  return {
    source,
    range: window,
    scaling,
    openSessions: OpenSessions.before(overview, source, window),
    shard: options.shard,
    maxRequests,
    ceiling: RateCeiling.over(forecast.plannedPeakPerSecond, options.maxRatePerSecond),
    durationNs: window.durationNs,
    expected:
      Math.min(forecast.plannedExchanges, maxRequests ?? Number.POSITIVE_INFINITY) /
      (options.shard?.count ?? 1),
    arrivalsOnly: overview.arrivalsOnly,
    builder: new RequestBuilder({
      basePath: options.target?.basePath ?? '',
      host: options.host,
      addedHeaders: options.addedHeaders,
      removedHeaders: options.removedHeaders,
      pathMappings: options.pathMappings,
      runId: 'dry-run',
      identity: copyIdentityOf(overview, scaling),
    }),
  };
}

function dryRunDocument(
  plan: ReplayPlan,
  leadIn: LeadIn,
  report: DryRunReport,
  fidelity: Fidelity,
  playback: Playback,
): object {
  const { recorded, planned, recordedToPlanned, duplicates } = fidelity;
  const { cappedAtNs } = report.whole;
  return {
    schemaVersion: 1,
    kind: 'replay_plan',
    ...planDocument(plan),
    ...windowsDocument(plan.window, plan.options.filters, playback),
    ...(cappedAtNs === null ? {} : { durationS: cappedAtNs / 1e9, endsWith: 'requests' }),
    effectiveMultiplier: foreseenMultipliers(plan, report.whole).effectiveMultiplier,
    reasons: foreseenReasons(plan, report.whole),
    recorded: recorded.count + playback.filtered,
    selected: recorded.count,
    planned: planned.count,
    maxRatePerSecond: plan.options.maxRatePerSecond,
    refusedForRate: report.refusedForRate,
    ...leadInDocument(leadIn),
    sendable: !plan.overview.arrivalsOnly,
    connections: report.connections,
    skipped: { ...report.audit.skipped, filtered: playback.filtered },
    scalingCounts: report.scaling,
    fidelity: {
      recorded,
      planned,
      sent: null,
      unfiltered: fidelity.unfiltered,
      // As in the document of a run, these are of planned to sent.
      ksGaps: null,
      mixDistance: null,
      recordedToPlanned,
      duplicateRatio: duplicates.ratio,
    },
    payloads: report.payloads,
  };
}

function dryRunLines(
  plan: ReplayPlan,
  report: DryRunReport,
  fidelity: Fidelity,
  playback: Playback,
): string[] {
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
    ...foreseenLines(plan, report.whole),
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

/** What a counted plan is of what was recorded and seen, as the run itself will reckon it. */
function foreseenMultipliers(plan: ReplayPlan, { recorded, planned }: PlanCount): PlanMultipliers {
  const { options, overview, scaling, window } = plan;
  return planMultipliers({
    multiplier: askedMultiplier(plan),
    ...{ recorded, planned },
    pace: playedPace(scaling, window),
    targetShare: options.targetShare,
    coverage: overview.coverage,
  });
}

/** For what of the plan alone a run of it is bound to be doubted. An empty one is told of in other words. */
function foreseenReasons(plan: ReplayPlan, count: PlanCount): Reason[] {
  if (count.planned === 0) return [];
  const bounds = { ...JUDGEMENT_BOUNDS, ...statedBounds(plan.options) };
  const short = planShort(foreseenMultipliers(plan, count), bounds);
  return short === null ? [] : [short];
}

/** The same for people, with where --max-requests ends the plan. */
function foreseenLines(plan: ReplayPlan, count: PlanCount): string[] {
  const multipliers = foreseenMultipliers(plan, count);
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
    ...foreseenReasons(plan, count).flatMap(({ code, advice }) => [
      `  WARNING: that is too little for a verdict of PASS, or for a valid run (${code})`,
      `    ${advice}`,
    ]),
  ];
}
