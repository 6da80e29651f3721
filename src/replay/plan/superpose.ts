import { AppError } from '../../core/errors.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { parseKeySources } from '../../redaction/identities.ts';
import { CopyIdentity, type PlayedAs } from '../request/copy-identity.ts';
import type { CaptureOverview } from '../window/capture.ts';
import { drawKeyOf, exchangeKeyOf } from './draws.ts';
import { type Arrival, identityOf, type Layer, type Scaling } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';

const SECOND_US = 1_000_000;
const HOUR_US = 3_600 * SECOND_US;
const DAY_US = 24 * HOUR_US;
/** What is comparable with a window, best first: its weekday, its time of day, the same minute of other hours. */
const PERIODS_US = [7 * DAY_US, DAY_US, HOUR_US];
/** Each is read beside the others, so there cannot be any number. */
const MAX_LAYERS = 64;
/** A stretch that lies in the capture but for this share of it will do. */
const MISSING_SHARE = 0.05;

/**
 * Chooses stretches of the capture that, laid over the window, make so many times its exchanges: the same time of
 * other weeks, then of other days, then the same minute of other hours, then its neighbours; the nearest first,
 * none twice.
 * @param multiplier the most that is asked for
 * @param filtered not everything in the capture is played, so that roll-ups do not count what is
 * @returns the window itself first
 * @throws AppError OPTION_INVALID where the capture does not hold enough
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
 * Arrivals of a window and of the stretches that are laid over it, on a clock that begins with the first of them. In
 * order; equal ones in the order of the layers.
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
    // A plan may end before its window.
    for (const stream of streams) stream.return?.();
  }
}

export function shifted({ fromUs, toUs }: TimeRange, shiftUs: number): TimeRange {
  return { fromUs: fromUs + shiftUs, toUs: toUs + shiftUs };
}

/** Exchanges of a range, exactly: whole seconds from roll-ups, what is left at the edges one by one. */
function countWithin(overview: CaptureOverview, source: CaptureSource, { fromUs, toUs }: TimeRange): number {
  const innerFromUs = Math.ceil(fromUs / SECOND_US) * SECOND_US;
  const innerToUs = Math.floor(toUs / SECOND_US) * SECOND_US;
  if (innerFromUs >= innerToUs) return rowsWithin(source, fromUs, toUs);
  let count = rowsWithin(source, fromUs, innerFromUs) + rowsWithin(source, innerToUs, toUs);
  for (const { second, exchanges } of overview.seconds({ fromUs: innerFromUs, toUs: innerToUs })) {
    if (second * SECOND_US >= innerFromUs && second * SECOND_US < innerToUs) count += exchanges;
  }
  return count;
}

function rowsWithin(source: CaptureSource, fromUs: number, toUs: number): number {
  if (fromUs >= toUs) return 0;
  let count = 0;
  for (const _ of source.rows({ fromUs, toUs })) count += 1;
  return count;
}

/** Shifts that may be tried, best first. */
function* candidates(overview: CaptureOverview, window: TimeRange): Generator<number> {
  const { firstArrivalUs, lastArrivalUs } = overview;
  if (firstArrivalUs === null || lastArrivalUs === null) return;
  const slackUs = spanUs(window) * MISSING_SHARE;
  const leastUs = firstArrivalUs - slackUs - window.fromUs;
  const mostUs = lastArrivalUs + 1 + slackUs - window.toUs;
  const beside = Math.ceil(spanUs(window) / SECOND_US) * SECOND_US;
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
