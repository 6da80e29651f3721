import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import type { PreparedRequest } from '../engine/messages.ts';
import { RateCeiling } from '../guard.ts';
import type { CaptureOverview } from '../window/capture.ts';
import type { ReplayWindow } from '../window/window.ts';
import { forecastOf } from './forecast.ts';
import {
  AuditCounter,
  type PlanListener,
  type PlannedRequest,
  type PlanParts,
  plannedRequests,
  ScalingTally,
} from './plan.ts';
import { Scaling } from './scaling.ts';
import { SessionChains } from './session-order.ts';

/** The load before the window, so that the target is already busy when the judged part begins. */
export interface Warmup {
  /** Run time, nanoseconds: the requested time, and the part of it that was recorded before the window. */
  readonly askedNs: number;
  readonly recordedNs: number;
  /** From its first request to the begin of the judged part, nanoseconds; 0 if nothing was recorded before. */
  readonly spanNs: number;
  readonly range: TimeRange;
  /** Scaling with the multiplier at the begin of the window, constant. */
  readonly scaling: Scaling;
  /** Upper bound of the planned requests in any second. */
  readonly peakPerSecond: number;
  /** Estimated requests from roll-ups, at most the limit on requests. */
  readonly plannedExchanges: number;
}

interface WarmupParts {
  readonly askedMs: number;
  readonly overview: CaptureOverview;
  readonly source: CaptureSource;
  readonly window: ReplayWindow;
  readonly scaling: Scaling;
  readonly maxRequests: number | null;
}

/** Makes the warm-up from the recording before the window, as far as it exists. Reads one row. */
export function warmupBefore(parts: WarmupParts): Warmup {
  const { askedMs, overview, source, window, scaling, maxRequests } = parts;
  const { options, coverage, layers, curve, drawn } = scaling;
  const multiplier = curve.multiplierAt(0);
  const rate = options.rate && { ...options.rate, durationNs: askedMs * 1e6 };
  const own = new Scaling({ ...options, rate, multiplier, stages: null }, coverage, layers, drawn);
  const beginUs = window.parts[0]?.fromUs ?? window.fromUs;
  const askedUs = Math.round(askedMs * 1e3 * own.maxPace);
  const range = { fromUs: Math.max(beginUs - askedUs, overview.firstArrivalUs ?? beginUs), toUs: beginUs };
  const firstUs = range.fromUs < range.toUs ? firstArrivalUs(source, range) : null;
  const spanNs = firstUs === null ? 0 : own.offsetNsAt(beginUs - firstUs);
  const forecast =
    firstUs === null ? null : forecastOf(overview, { parts: [range], loops: 1, durationNs: null }, own);
  return {
    askedNs: askedMs * 1e6,
    recordedNs: own.offsetNsAt(Math.max(0, beginUs - range.fromUs)),
    spanNs,
    range,
    scaling: own,
    peakPerSecond: forecast?.plannedPeakPerSecond ?? 0,
    plannedExchanges: Math.min(forecast?.plannedExchanges ?? 0, maxRequests ?? Number.POSITIVE_INFINITY),
  };
}

/**
 * The warm-up and then the window, as one schedule without a drain in between. Warm-up requests are marked. They do not
 * count as recorded or changed, nor in the audit. The limit on requests includes both.
 */
export function* warmedUp(
  warmup: Warmup,
  parts: PlanParts,
  listener: PlanListener,
  maxRatePerSecond: number | null,
): Generator<PreparedRequest> {
  const { timeShift, maxRequests } = parts;
  let requests = 0;
  if (warmup.spanNs > 0) {
    const counted = (tell: PlanListener['planned']) => (request: PlannedRequest) => {
      requests = request.index + 1;
      tell(request);
    };
    yield* plannedRequests(
      {
        ...parts,
        warmup: true,
        range: warmup.range,
        scaling: warmup.scaling,
        tally: new ScalingTally(),
        openSessions: null,
        durationNs: warmup.spanNs,
        ceiling: RateCeiling.over(warmup.peakPerSecond, maxRatePerSecond),
        audit: new AuditCounter(),
        changes: parts.changes.apart(),
        answers: parts.answers.apart(),
        ...(timeShift === undefined ? {} : { timeShift: timeShift.apart() }),
        // Sessions are not linked across the border: in the window they start again at their planned instants.
        chains: parts.chains == null ? null : new SessionChains(),
      },
      {
        recorded: () => undefined,
        planned: counted((request) => listener.planned(request)),
        refusedByCeiling: counted((request) => listener.refusedByCeiling(request)),
      },
    );
  }
  const left = maxRequests === null ? null : maxRequests - requests;
  const before = { requests, spanNs: warmup.spanNs };
  yield* plannedRequests({ ...parts, maxRequests: left, before }, listener);
}

function firstArrivalUs(source: CaptureSource, range: TimeRange): number | null {
  for (const { arrivalUs } of source.rows(range)) return arrivalUs;
  return null;
}
