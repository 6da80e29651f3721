import type { ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { arrivalsOf } from './arrival.ts';
import type { AuditCounter } from './audit.ts';
import type { TargetFence } from './guards.ts';
import type { PreparedRequest } from './prepared-request.ts';
import type { RateCeiling } from './rate-ceiling.ts';
import type { RequestBuilder } from './request-builder.ts';
import { scheduleOf } from './schedule.ts';
import { skipReasonOf } from './skip.ts';

/** A planned send by what its report needs of the row; the request itself is with the engine. */
export interface PlannedRequest {
  readonly index: number;
  readonly intendedOffsetNs: number;
  readonly row: ExchangeRow;
}

/** Told of every exchange of the window as it is planned, in order. */
export interface PlanListener {
  /** An exchange of the window, whether it will be replayed or not. */
  recorded(row: ExchangeRow): void;
  /** Planned and about to be handed out. */
  planned(request: PlannedRequest): void;
  /** Planned as well, and refused by our own ceiling on the rate. */
  refusedByCeiling(request: PlannedRequest): void;
}

export interface PlanParts {
  readonly source: CaptureSource;
  readonly range: TimeRange;
  readonly multiplier: number;
  readonly maxRequests: number | null;
  readonly builder: RequestBuilder;
  readonly fence: TargetFence;
  readonly ceiling: RateCeiling;
  readonly audit: AuditCounter;
}

/**
 * Rows → schedule → requests, one by one as the engine asks for them, at constant memory.
 * @throws AppError TARGET_FORBIDDEN at a request recorded under the target's own name.
 */
export function* plannedRequests(parts: PlanParts, listener: PlanListener): Generator<PreparedRequest> {
  const { source, range, multiplier, builder, audit } = parts;
  let index = 0;
  for (const { row, intendedOffsetNs } of scheduleOf(arrivalsOf(source.rows(range)), multiplier)) {
    if (index === parts.maxRequests) return;
    listener.recorded(row);
    const skipped = skipReasonOf(row);
    if (skipped !== null) {
      audit.skip(skipped);
      continue;
    }
    const built = builder.build(source.payload(row));
    if (built.kind === 'no_payload') {
      audit.skip('no_payload');
      continue;
    }
    if (built.kind === 'unreplayable') {
      audit.refuse(built.reason);
      continue;
    }
    parts.fence.checkRecorded(built.recordedHost);
    audit.mask(built.masked);
    const planned = { index, intendedOffsetNs, row };
    index += 1;
    if (parts.ceiling.admits(intendedOffsetNs)) {
      listener.planned(planned);
      yield { index: planned.index, intendedOffsetNs, ...built.request };
    } else {
      listener.refusedByCeiling(planned);
    }
  }
}
