import { AppError } from '../core/errors.ts';
import type { CaptureSource } from '../core/ports.ts';
import { countOf, formatInstantUs, formatMs } from '../core/units.ts';
import { type Warmup, warmupBefore } from '../replay/warmup.ts';
import { type CalibrationPlan, calibrationPlanOf } from './calibration-plan.ts';
import type { ReplayPlan } from './replay-plan.ts';

/** What is played before the judged part; each null where it was not asked for. */
export interface LeadIn {
  readonly calibration: CalibrationPlan | null;
  readonly warmup: Warmup | null;
}

/**
 * What is played before the judged part of a plan.
 * @param source as the plan plays it
 * @param capture as it was opened
 * @throws AppError OPTION_INVALID where --max-requests leaves nothing of it to judge
 */
export function leadInOf(plan: ReplayPlan, source: CaptureSource, capture: CaptureSource): LeadIn {
  const { overview, window, scaling, options } = plan;
  const { warmupMs: askedMs, maxRequests } = options;
  const warmup =
    askedMs === null ? null : warmupBefore({ askedMs, overview, source, window, scaling, maxRequests });
  const leadIn = { warmup, calibration: calibrationPlanOf(plan, warmup, capture) };
  assertRequestsLeft(maxRequests, requestsOf(leadIn));
  return leadIn;
}

/** How many requests of it are expected. */
export function requestsOf({ calibration, warmup }: LeadIn): number {
  return (calibration?.plannedRequests ?? 0) + (warmup?.plannedExchanges ?? 0);
}

/** What --max-requests leaves to the judged part; null where nothing bounds it. */
export function requestsLeft({ options }: ReplayPlan, leadIn: LeadIn): number | null {
  return options.maxRequests === null ? null : options.maxRequests - requestsOf(leadIn);
}

/**
 * The ceiling holds for all that is sent, and what comes first may not leave the judged part without any.
 * @param before requests that come first
 * @throws AppError OPTION_INVALID
 */
export function assertRequestsLeft(maxRequests: number | null, before: number): void {
  if (maxRequests === null || before === 0 || before < maxRequests) return;
  throw new AppError(
    'OPTION_INVALID',
    `--max-requests ${maxRequests} leaves nothing to judge: some ${before} go before, to calibrate and to warm up`,
    { hint: 'It is the most that is sent in all. Raise it, or calibrate and warm up for a shorter time.' },
  );
}

/** What a reader should know of it before the start. */
export function leadInLines({ calibration, warmup }: LeadIn): string[] {
  return [
    ...(calibration === null ? [] : [`  calibration: ${calibrationText(calibration)}`]),
    ...(warmup === null ? [] : [`  warm-up: ${warmupText(warmup)}`]),
  ];
}

/** The same for a program. */
export function leadInDocument({ calibration, warmup }: LeadIn): object {
  return {
    calibration:
      calibration === null
        ? null
        : {
            from: formatInstantUs(calibration.plan.window.fromUs),
            to: formatInstantUs(calibration.plan.window.toUs - 1),
            precedesWindow: calibration.precedesWindow,
            plannedRequests: calibration.plannedRequests,
          },
    warmup:
      warmup === null
        ? null
        : {
            askedS: warmup.askedNs / 1e9,
            spanS: warmup.spanNs / 1e9,
            plannedRequests: warmup.plannedExchanges,
          },
  };
}

function calibrationText({ plan, plannedRequests, precedesWindow }: CalibrationPlan): string {
  const { window } = plan;
  const requests = `some ${countOf(plannedRequests, 'request')}`;
  const repeated = precedesWindow ? '' : ', which the run repeats: the recording goes no farther back';
  return `${formatMs(window.plannedSpanNs / 1e6)} at 1x before all else, ${requests}${repeated}`;
}

function warmupText({ askedNs, recordedNs, spanNs, plannedExchanges }: Warmup): string {
  const asked = formatMs(askedNs / 1e6);
  if (spanNs === 0) return `nothing precedes the window; ${asked} were asked for`;
  const short = recordedNs < askedNs ? ` (the recording goes no farther back; ${asked} were asked for)` : '';
  const requests = `some ${countOf(plannedExchanges, 'request')} that are in no figure`;
  return `${formatMs(spanNs / 1e6)} before the window${short}, ${requests}`;
}
