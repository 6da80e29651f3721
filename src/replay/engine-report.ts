import { Durations } from './durations.ts';
import type { AddressUse, ConnectionUse, EngineHealth } from './engine-health.ts';
import type { ThreadsReport } from './engine-threads.ts';
import { mergedStalls } from './stall-log.ts';
import type { SenderOver } from './thread-messages.ts';

/** What the main thread knows of a run beside what its threads report. */
export interface RunFacts {
  readonly startNs: number;
  readonly startedAtUs: number;
  readonly prepared: number;
  /** The schedule was handed over to its end. */
  readonly finished: boolean;
  /** Follow-ups that were refused before they were handed over. */
  readonly notHeld: number;
}

/** One report of all threads: counts add up, distributions are merged, and the worst sender speaks for all. */
export function engineHealthOf({ senders, pacerLateness }: ThreadsReport, run: RunFacts): EngineHealth {
  const healths = senders.map(({ health }) => health);
  const sum = (of: (health: SenderOver['health']) => number) => sumOf(healths.map(of));
  const worst = (of: (health: SenderOver['health']) => number) => Math.max(...healths.map(of));
  const sent = sum((health) => health.sent);
  const refused = sum((health) => health.refused);
  return {
    startNs: run.startNs,
    startedAtUs: run.startedAtUs,
    endOffsetNs: worst((health) => health.endOffsetNs),
    prepared: run.prepared,
    sent,
    refused,
    refusedForBytes: sum((health) => health.refusedForBytes),
    stopped: sum((health) => health.stopped),
    aborted: !run.finished || sent + refused + sum((health) => health.unreached) < run.prepared,
    lag: Durations.merged(healths.map(({ lag }) => lag)).summary(),
    pacerLateness,
    senderBusyShare: worst((health) => health.busyShare),
    senderBusyShareMax10s: worst((health) => health.busyShareMax10s),
    starved: sum((health) => health.starved),
    stalls: mergedStalls(healths.flatMap(({ stalls }) => stalls)),
    inFlightMax: worst((health) => health.inFlightMax),
    followUps: { heldBack: sum((health) => health.heldBack), notHeld: run.notHeld },
    connections: connectionsOf(senders),
  };
}

function connectionsOf(senders: readonly SenderOver[]): ConnectionUse {
  const uses = senders.map(({ connections }) => connections);
  const sum = (of: (use: ConnectionUse) => number) => sumOf(uses.map(of));
  const used = sum((use) => use.used);
  const byAddress = uses.flatMap((use) => use.byAddress);
  return {
    opened: sum((use) => use.opened),
    failed: sum((use) => use.failed),
    openMax: sum((use) => use.openMax),
    used,
    connect: Durations.merged(senders.map(({ connect }) => connect)).summary(),
    requestsPerConnection: {
      mean: used === 0 ? 0 : sumOf(byAddress.map(({ requests }) => requests)) / used,
      max: Math.max(...uses.map(({ requestsPerConnection }) => requestsPerConnection.max)),
    },
    byAddress: [...Map.groupBy(byAddress, ({ address }) => address)].map(([address, parts]) =>
      addressUseOf(address, parts),
    ),
  };
}

function addressUseOf(address: string, parts: readonly AddressUse[]): AddressUse {
  return {
    address,
    connections: sumOf(parts.map(({ connections }) => connections)),
    requests: sumOf(parts.map(({ requests }) => requests)),
  };
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
