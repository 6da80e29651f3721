import type { Stretch } from './recorder-life.ts';

const HOUR_US = 3_600_000_000;

/**
 * The share of a fleet's traffic that was in front of a recorder, from how many of `fleetSize` recorders each
 * hour is here. A recorder that is missing is taken to have seen what those did that are here in that hour; an
 * hour without any, what a recorder saw in a mean hour.
 * @param exchangesByHour hours since the epoch
 * @param within the time it is asked of; without it that of the recorders that are here
 * @returns 1 when none is missing; null when nothing can be said
 */
export function fleetShare(
  fleetSize: number,
  presence: readonly (readonly Stretch[])[],
  exchangesByHour: ReadonlyMap<number, number>,
  within: Stretch | null = null,
): number | null {
  const stretches = presence.flat();
  const recorded = [...exchangesByHour.values()].reduce((sum, count) => sum + count, 0);
  if (stretches.length === 0 || recorded === 0) return null;
  const { fromUs, toUs } = within ?? spanOf(stretches);
  const here = recorderHours(stretches);
  const total = [...here.values()].reduce((sum, hours) => sum + hours, 0);
  let seen = 0;
  for (let hour = Math.floor(fromUs / HOUR_US); hour * HOUR_US < toUs; hour += 1) {
    const lengthUs = Math.min(toUs, (hour + 1) * HOUR_US) - Math.max(fromUs, hour * HOUR_US);
    const expected = fleetSize * (lengthUs / HOUR_US);
    const present = here.get(hour) ?? 0;
    const count = exchangesByHour.get(hour) ?? 0;
    // A sliver of an hour says nothing of what a whole recorder would have seen in it.
    const ofOne = present >= expected / fleetSize / 60 ? count / present : recorded / total;
    seen += count + Math.max(0, expected - present) * ofOne;
  }
  // Arrivals outside of every life (a clock that was set, an import) are recorded all the same.
  const outside = [...exchangesByHour]
    .filter(([hour]) => (hour + 1) * HOUR_US <= fromUs || hour * HOUR_US >= toUs)
    .reduce((sum, [, count]) => sum + count, 0);
  return recorded / (seen + outside);
}

/** The most recorders that were there at one time: one that goes as another comes may be the same member. */
export function mostAtOnce(presence: readonly (readonly Stretch[])[]): number {
  const changes = presence
    .flat()
    .flatMap(({ fromUs, toUs }) => [
      { atUs: fromUs, by: 1 },
      { atUs: toUs, by: -1 },
    ])
    .sort((a, b) => a.atUs - b.atUs || a.by - b.by);
  let [here, most] = [0, 0];
  for (const { by } of changes) {
    here += by;
    most = Math.max(most, here);
  }
  return most;
}

function spanOf(stretches: readonly Stretch[]): Stretch {
  return {
    fromUs: stretches.reduce((least, { fromUs }) => Math.min(least, fromUs), Number.POSITIVE_INFINITY),
    toUs: stretches.reduce((most, { toUs }) => Math.max(most, toUs), Number.NEGATIVE_INFINITY),
  };
}

/** How many recorders were there in each hour, in parts of an hour. */
function recorderHours(stretches: readonly Stretch[]): Map<number, number> {
  const hours = new Map<number, number>();
  for (const { fromUs, toUs } of stretches) {
    for (let hour = Math.floor(fromUs / HOUR_US); hour * HOUR_US < toUs; hour += 1) {
      const overlapUs = Math.min(toUs, (hour + 1) * HOUR_US) - Math.max(fromUs, hour * HOUR_US);
      hours.set(hour, (hours.get(hour) ?? 0) + overlapUs / HOUR_US);
    }
  }
  return hours;
}
