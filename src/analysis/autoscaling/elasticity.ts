import type { ElasticityFigures } from '../../documents/autoscaling.ts';

/** Load and replicas in one window of a run. */
export interface ElasticityWindow {
  readonly offeredPerSecond: number;
  /** Ready replicas; null where they are not known. */
  readonly replicas: number | null;
}

/**
 * Elasticity as the SPEC Research Group measures it (Herbst et al., "Ready for Rain?", 2016, and the BUNGEE benchmark):
 * accuracy, timeshare and instability of the supply against the demand d = ceil(load ÷ rate of one replica), at least 1.
 * @param windowS length of each window, seconds
 * @returns null where the number of replicas is known in no window
 */
export function elasticityOf(
  windows: readonly ElasticityWindow[],
  windowS: number,
  ratePerReplica: number,
): ElasticityFigures | null {
  const known = windows.flatMap(({ offeredPerSecond, replicas }) => {
    const demand = Math.max(1, Math.ceil(offeredPerSecond / ratePerReplica - 1e-9));
    return replicas === null ? [] : [{ demand, replicas }];
  });
  if (known.length === 0) return null;
  const sum = (of: (each: (typeof known)[number], at: number) => number) =>
    known.reduce((total, each, at) => total + of(each, at), 0);
  const percentOf = (total: number) => (100 / known.length) * total;
  const moves = (each: (typeof known)[number], at: number) => {
    const before = known[at - 1];
    if (before === undefined) return 0;
    const isAlike = Math.sign(each.replicas - before.replicas) === Math.sign(each.demand - before.demand);
    return isAlike ? 0 : 1;
  };
  return {
    ratePerReplica,
    windowS,
    knownS: known.length * windowS,
    under: {
      accuracyPercent: percentOf(sum(({ demand, replicas }) => Math.max(demand - replicas, 0) / demand)),
      timesharePercent: percentOf(sum(({ demand, replicas }) => (demand > replicas ? 1 : 0))),
    },
    over: {
      accuracyPercent: percentOf(sum(({ demand, replicas }) => Math.max(replicas - demand, 0) / demand)),
      timesharePercent: percentOf(sum(({ demand, replicas }) => (replicas > demand ? 1 : 0))),
    },
    instabilityPercent: percentOf(sum(moves)),
    replicaSeconds: {
      supplied: windowS * sum(({ replicas }) => replicas),
      needed: windowS * sum(({ demand }) => demand),
      overPerfect: windowS * sum(({ demand, replicas }) => Math.max(replicas - demand, 0)),
    },
  };
}
