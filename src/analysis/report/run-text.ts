import { countLines, linesOf } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import type { LiveValuesDocument, ReplayDocument, ShardDocument } from '../../documents/replay.ts';
import { playedLines, scalingCountLines, unfilteredLines } from '../plan/view.ts';
import { viewText } from '../render/table.ts';
import { runView } from './view.ts';

/** Everything about a run as text: its view, and what was sent and how. */
export function runText(document: ReplayDocument, directory: string): string[] {
  return [
    ...viewText(runView(document, directory), 'brief'),
    ...unfilteredLines(document.fidelity),
    ...playedLines(document),
    ...scalingCountLines(document.scalingPlan?.counts),
    ...sessionOrderLines(document.sessionOrder),
    ...answerLines(document),
    ...shardLines(document.shard ?? null),
    ...connectionLines(document.connections),
    ...timeShiftLines(document.timeShift ?? null),
    '',
    `Run ${document.run}: ${directory}`,
  ];
}

function sessionOrderLines(order: ReplayDocument['sessionOrder']): string[] {
  return [...valueLines(order?.values ?? null), ...partlyOpenLines(order)];
}

function valueLines(values: LiveValuesDocument | null): string[] {
  if (values === null) return [];
  const { linked, waited, diverged, skipped, unissued, forgotten } = values;
  return [
    '',
    `Values of answers: in ${countOf(linked, 'request')}`,
    ...countLines([
      [waited, 'waited for an answer with a value'],
      [diverged, 'had an answer without the value'],
      [skipped, 'not sent for that reason, or because their session was ended by it'],
      [unissued, 'values sent as recorded: what issued them was not sent'],
      [forgotten, 'values or sessions forgotten: more than are held'],
    ]),
  ];
}

function partlyOpenLines(order: ReplayDocument['sessionOrder']): string[] {
  if (order?.counts == null) return [];
  const { counts, heldBack, notHeld } = order;
  return [
    '',
    `Sessions, partly open: ${countOf(counts.sessions, 'session')}, ${countOf(counts.followUps, 'follow-up')}`,
    ...countLines([
      [counts.overlapped, 'as far behind the one before as recorded: they overlapped'],
      [counts.unknownEnds, 'likewise: the recording does not say when the one before was over'],
      [counts.forgotten, 'sessions forgotten: more sent together than are remembered'],
      [heldBack, 'sent later than their session had earned: beyond what is read ahead'],
      [notHeld, 'refused: too many waited already'],
    ]),
  ];
}

/** Lines about changed requests and recorded cancels; empty if nothing was requested. */
function answerLines({ cancels, changes }: ReplayDocument): string[] {
  const untimed = cancels?.untimed ?? 0;
  return linesOf(
    untimed > 0 && `  ${untimed} recorded clients left no sign of when: their answers were waited for`,
    changes !== undefined &&
      changes.pinOutputLength !== null &&
      `  output length pinned (${changes.pinOutputLength}): ${changes.pinned}; not pinned: ${changes.unpinned}`,
    changes?.requestUsage === true &&
      `  streams asked for their counts of tokens by us: ${changes.usageRequested}`,
  );
}

function shardLines(shard: ShardDocument | null): string[] {
  if (shard === null) return [];
  const drift = formatMs(Math.abs(shard.clock.driftUs) / 1e3);
  return [
    '',
    `Shard ${shard.index} of ${shard.count}, plan ${shard.planDigest.slice(0, 12)}: reprise merge puts the runs of all shards together and judges them`,
    `  the plan of all: ${countOf(shard.whole.planned.count, 'request')}; wall clock against monotonic clock during the run: ${drift}`,
  ];
}

function connectionLines(connections: ReplayDocument['connections']): string[] {
  const {
    policy,
    opened,
    openedAhead = 0,
    failed,
    used,
    requestsPerConnection,
    connect,
    byAddress,
    recorded,
  } = connections ?? {};
  if (requestsPerConnection === undefined || connect === undefined) return [];
  const each = ({ mean, max }: typeof requestsPerConnection) =>
    `${mean.toFixed(1)} requests each, at most ${max}`;
  const addresses = (byAddress ?? []).map(
    ({ address, connections: count, requests }) =>
      `  ${address}: ${countOf(requests, 'request')} on ${countOf(count, 'connection')}`,
  );
  return linesOf(
    '',
    `Connections (${policy}): ${opened} opened (${openedAhead} before they were needed), ${failed} failed, ${used} used, ${each(requestsPerConnection)}, set up in ${formatMs(connect.p50Ns / 1e6)} (p99 ${formatMs(connect.p99Ns / 1e6)})`,
    recorded !== undefined &&
      recorded.connections > 0 &&
      `  recorded: ${recorded.connections}, ${each(recorded.requestsPerConnection)}`,
    addresses.length > 1 && addresses,
  );
}

function timeShiftLines(counts: ReplayDocument['timeShift'] | null): string[] {
  if (counts == null) return [];
  const left = counts.unshifted === 0 ? '' : `; ${counts.unshifted} left as recorded: not there, or no time`;
  return ['', `Times moved to when they were sent: ${counts.shifted}${left}`];
}
