import { AppError } from '../../core/errors.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import { parseKeySources } from '../../redaction/identities.ts';
import { CopyIdentity, type PlayedAs } from '../request/copy-identity.ts';
import type { CaptureOverview } from '../window/capture.ts';
import { drawKeyOf, exchangeKeyOf } from './draws.ts';
import { type Arrival, identityOf, type Layer, type Scaling } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';

const HOUR_US = 3_600 * US_PER_S;
const DAY_US = 24 * HOUR_US;
/** Periods after which traffic is comparable, best first: the same weekday, time of day, and minute of the hour. */
const PERIODS_US = [7 * DAY_US, DAY_US, HOUR_US];
/** Most layers. The number is limited, because all layers are read at the same time. */
const MAX_LAYERS = 64;
/** A layer may lack at most this share of its time in the capture. */
const MISSING_SHARE = 0.05;

/**
 * Chooses parts of the capture that, superposed on the window, multiply its exchanges. Candidates are the same time in
 * other weeks, then on other days, then the same minute of other hours, then neighbours. The nearest come first, and no
 * part is used twice.
 * @param multiplier the largest requested multiplier
 * @param filtered whether filters leave exchanges out, so that roll-ups do not have the replayed counts
 * @returns the window itself first
 * @throws AppError OPTION_INVALID if the capture does not have enough traffic
 */
export function chooseLayers(
  overview: CaptureOverview,
  source: CaptureSource,
  window: TimeRange,
  multiplier: number,
  filtered = false,
): readonly Layer[] {
  const count = (range: TimeRange) =>
    filtered ? rowsWithin(source, range.fromUs, range.toUs) : countWithin(overview, source, range);
  const own = count(window);
  const layers: Layer[] = [{ shiftUs: 0, before: 0, exchanges: own }];
  let sum = own;
  for (const shiftUs of candidates(overview, window)) {
    if (sum >= multiplier * own || layers.length > MAX_LAYERS) break;
    if (layers.some((layer) => Math.abs(layer.shiftUs - shiftUs) < spanUs(window))) continue;
    const exchanges = count(shifted(window, shiftUs));
    if (exchanges === 0) continue;
    layers.push({ shiftUs, before: sum, exchanges });
    sum += exchanges;
  }
  if (sum < multiplier * own) throw tooFew(layers.length - 1, sum / own, multiplier);
  return layers;
}

/**
 * Arrivals of a window and its layers, in order, on a clock that begins with the first of them. Equal times are in the
 * order of the layers.
 */
export function* layeredArrivals(
  source: CaptureSource,
  window: TimeRange,
  layers: readonly Pick<Layer, 'shiftUs'>[],
): Generator<Arrival> {
  const streams = layers.map(({ shiftUs }) => source.rows(shifted(window, shiftUs)));
  const heads = streams.map((stream) => next(stream));
  const timeOf = (layer: number): number =>
    heads[layer] == null ? Number.POSITIVE_INFINITY : heads[layer].arrivalUs - layers[layer]!.shiftUs;
  let firstUs: number | null = null;
  try {
    for (;;) {
      let layer = 0;
      for (let other = 1; other < streams.length; other += 1)
        if (timeOf(other) < timeOf(layer)) layer = other;
      const row = heads[layer];
      if (row == null) return;
      const atUs = timeOf(layer);
      firstUs ??= atUs;
      yield { row, offsetUs: atUs - firstUs, layer };
      heads[layer] = next(streams[layer]!);
    }
  } finally {
    // Closes the streams, because a plan may end before its window.
    for (const stream of streams) stream.return?.();
  }
}

export function shifted({ fromUs, toUs }: TimeRange, shiftUs: number): TimeRange {
  return { fromUs: fromUs + shiftUs, toUs: toUs + shiftUs };
}

/** The exact number of exchanges of a range: whole seconds from roll-ups, the edges row by row. */
function countWithin(overview: CaptureOverview, source: CaptureSource, { fromUs, toUs }: TimeRange): number {
  const innerFromUs = Math.ceil(fromUs / US_PER_S) * US_PER_S;
  const innerToUs = Math.floor(toUs / US_PER_S) * US_PER_S;
  if (innerFromUs >= innerToUs) return rowsWithin(source, fromUs, toUs);
  let count = rowsWithin(source, fromUs, innerFromUs) + rowsWithin(source, innerToUs, toUs);
  for (const { second, exchanges } of overview.seconds({ fromUs: innerFromUs, toUs: innerToUs })) {
    if (second * US_PER_S >= innerFromUs && second * US_PER_S < innerToUs) count += exchanges;
  }
  return count;
}

function rowsWithin(source: CaptureSource, fromUs: number, toUs: number): number {
  if (fromUs >= toUs) return 0;
  let count = 0;
  for (const _ of source.rows({ fromUs, toUs })) count += 1;
  return count;
}

/** Possible shifts, best first. */
function* candidates(overview: CaptureOverview, window: TimeRange): Generator<number> {
  const { firstArrivalUs, lastArrivalUs } = overview;
  if (firstArrivalUs === null || lastArrivalUs === null) return;
  const slackUs = spanUs(window) * MISSING_SHARE;
  const leastUs = firstArrivalUs - slackUs - window.fromUs;
  const mostUs = lastArrivalUs + 1 + slackUs - window.toUs;
  const beside = Math.ceil(spanUs(window) / US_PER_S) * US_PER_S;
  for (const periodUs of [...PERIODS_US, beside]) {
    const farthest = Math.max(-leastUs, mostUs, 0);
    for (let shiftUs = periodUs; shiftUs <= farthest; shiftUs += periodUs) {
      if (shiftUs < spanUs(window)) continue;
      if (-shiftUs >= leastUs) yield -shiftUs;
      if (shiftUs <= mostUs) yield shiftUs;
    }
  }
}

function spanUs({ fromUs, toUs }: TimeRange): number {
  return toUs - fromUs;
}

function next<T>(stream: Iterator<T>): T | null {
  const step = stream.next();
  return step.done ? null : step.value;
}

function tooFew(found: number, reached: number, asked: number): AppError {
  const has =
    found === 0 ? 'nothing comparable beside the window' : `${found} comparable stretches beside the window`;
  const held =
    found < MAX_LAYERS ? `the capture holds ${has}` : `at most ${MAX_LAYERS} stretches are laid over`;
  return new AppError(
    'OPTION_INVALID',
    `--scaling superpose: ${held}, enough for ${reached.toFixed(2)}x, not for ${asked}x`,
    { hint: 'Choose a shorter window, a smaller multiplier, or --scaling amplify.' },
  );
}

/** The identity under which a send is replayed; null for the recorded one. */
export function playedAs({ row, copy, layer }: PlannedSend, { draws }: Scaling): PlayedAs | null {
  const identity = identityOf(layer, copy);
  if (identity === 0) return null;
  return {
    sessionSalt: draws.name(drawKeyOf(row), identity),
    tag: draws.name(exchangeKeyOf(row), identity),
    copy,
  };
}

/** Renames copies, at the places where the capture's recorders looked for the session key. */
export function copyIdentityOf({ sessionKeys }: CaptureOverview, { options }: Scaling): CopyIdentity {
  // Parsed one by one: all recorders together may have more places than the limit for one recorder.
  const sources = sessionKeys.flatMap((key) => parseKeySources('session', [key]));
  return new CopyIdentity(sources, options.perturb, options.copyPrompts);
}
