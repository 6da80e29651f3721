import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { parseKeySources } from '../../redaction/identities.ts';
import { type Arrival, arrivalsOf } from '../arrival.ts';
import type { CaptureOverview } from '../capture-overview.ts';
import { CopyIdentity, type PlayedAs } from '../copy-identity.ts';
import type { PlannedSend } from '../schedule.ts';
import { drawKeyOf, exchangeKeyOf } from './draws.ts';
import { layeredArrivals } from './layers.ts';
import { identityOf, type Scaling } from './scaling.ts';

/** Arrivals of a window, with those of the stretches that the scaling lays over it. */
export function arrivalsIn(source: CaptureSource, range: TimeRange, scaling: Scaling): Iterable<Arrival> {
  return scaling.layers.length > 1
    ? layeredArrivals(source, range, scaling.layers)
    : arrivalsOf(source.rows(range));
}

/** Who a planned send is played as; null for who it was recorded from. */
export function playedAs({ row, copy, layer }: PlannedSend, { draws }: Scaling): PlayedAs | null {
  const identity = identityOf(layer, copy);
  if (identity === 0) return null;
  return {
    sessionSalt: draws.name(drawKeyOf(row), identity),
    tag: draws.name(exchangeKeyOf(row), identity),
    copy,
  };
}

/** Who copies become, by where the capture's recorders looked for the key of a session. */
export function copyIdentityOf({ sessionKeys }: CaptureOverview, { options }: Scaling): CopyIdentity {
  // Recorders of one capture may have looked in many places, each in fewer than a recorder may be given.
  const sources = sessionKeys.flatMap((key) => parseKeySources('session', [key]));
  return new CopyIdentity(sources, options.perturb);
}
