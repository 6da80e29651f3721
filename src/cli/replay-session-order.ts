import { countOf } from '../core/units.ts';
import type { CaptureOverview } from '../replay/capture-overview.ts';
import type { FollowUpHealth } from '../replay/engine-health.ts';
import type { ReplayOptions } from '../replay/options.ts';
import type { ReplayOutcome } from '../replay/replay.ts';
import type { SessionOrder, SessionOrderCounts } from '../replay/session-order.ts';

/** How sessions were played, as a run's document has it. */
export interface SessionOrderDocument extends FollowUpHealth {
  readonly policy: SessionOrder;
  /** Null where every request was due at its planned instant. */
  readonly counts: SessionOrderCounts | null;
}

export function sessionOrderDocument(
  { sessionOrder }: Pick<ReplayOptions, 'sessionOrder'>,
  outcome: Pick<ReplayOutcome, 'health' | 'sessionOrder'>,
): SessionOrderDocument {
  return { policy: sessionOrder, ...outcome.health.followUps, counts: outcome.sessionOrder };
}

/** What it keeps and bends, for people, before the start. */
export function sessionOrderLines(
  { sessionOrder, scaling }: Pick<ReplayOptions, 'sessionOrder' | 'scaling'>,
  { sessionKeys }: Pick<CaptureOverview, 'sessionKeys'>,
): string[] {
  if (sessionOrder === 'open') return [];
  const think =
    scaling === 'compress' ? 'the recorded think time over the multiplier' : 'the recorded think time';
  return [
    `  sessions partly open: a follow-up is due when the one before it is over, plus ${think};`,
    '    keeps think times and that a session waits for its answers',
    '    bends arrivals, which follow the target: a slower one is offered less, so this is no capacity for an open load',
    ...(sessionKeys.length > 0
      ? []
      : ['    no recorder of this capture had a session key: without sessions it is the same as open']),
  ];
}

/** What came of it. */
export function sessionOrderCountLines(outcome: Pick<ReplayOutcome, 'health' | 'sessionOrder'>): string[] {
  const { sessionOrder: counts, health } = outcome;
  if (counts === null) return [];
  const { heldBack, notHeld } = health.followUps;
  const made = [
    [counts.overlapped, 'as far behind the one before as recorded: they overlapped'],
    [counts.unknownEnds, 'likewise: the recording does not say when the one before was over'],
    [counts.forgotten, 'sessions forgotten: more spoke at once than are remembered'],
    [heldBack, 'sent later than their session had earned: beyond what is read ahead'],
    [notHeld, 'refused: too many waited already'],
  ] as const;
  return [
    '',
    `Sessions, partly open: ${countOf(counts.sessions, 'session')}, ${countOf(counts.followUps, 'follow-up')}`,
    ...made.filter(([count]) => count > 0).map(([count, what]) => `  ${count} ${what}`),
  ];
}
