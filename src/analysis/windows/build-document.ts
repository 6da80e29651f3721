import { picked } from '../../core/picked.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs, US_PER_S } from '../../core/units.ts';
import { type RankedWindowsDocument, WINDOW_DIMENSIONS } from '../../documents/ranked-windows.ts';
import type { Dimension, RankedWindows } from './rank.ts';

/** Windows that the document lists. */
const LISTED = 5;
/** A window covers a dimension if it has at least this share of the most that any window has. */
const COVERED = 0.5;
/** Two counts differ by more than chance if their difference is so many standard deviations. */
const DEVIATIONS = 3;
/** Less time is not called a month. */
const LEAST_DAYS = 14;
const DAY_US = 86_400 * US_PER_S;

/** Facts that are known without reading rows. */
export type WindowsContext = Pick<
  RankedWindowsDocument,
  | 'capture'
  | 'captureDigest'
  | 'timeZone'
  | 'lengthS'
  | 'multiplier'
  | 'coverage'
  | 'coverageIsAtLeast'
  | 'recordersMissing'
>;

/** The document of ranked windows: the hardest ones, and one that covers what the hardest lacks of the payload mix. */
export function rankedWindowsDocument(ranked: RankedWindows, context: WindowsContext): RankedWindowsDocument {
  const { recorded, starts, order, requests, dimensions, fitted, hours } = ranked;
  const lengthUs = context.lengthS * US_PER_S;
  const rangeOf = ({ fromUs, toUs }: TimeRange) => ({
    from: formatInstantUs(fromUs),
    to: formatInstantUs(toUs),
  });
  const windowOf = (at: number, chosenFor: 'hardness' | 'mix') => ({
    ...rangeOf(recorded[at]!),
    chosenFor,
    harderThan: (order.length - 1 - order.indexOf(at)) / order.length,
    requests: requests[at]!,
    values: dimensions.map(({ values }) => values[at] ?? null),
  });
  const mix = mixWindow(ranked);
  const listed = new Set([...order.slice(0, LISTED), ...(mix === null ? [] : [mix])]);
  const whole = { fromUs: recorded[0]!.fromUs, toUs: recorded.at(-1)!.toUs };
  // A recording of so many days begins and ends with a window of which a part is missing.
  const windowsUs = starts.at(-1)! + lengthUs - starts[0]!;
  return {
    schemaVersion: 1,
    kind: 'windows',
    ...context,
    ...rangeOf(whole),
    days: (whole.toUs - whole.fromUs) / DAY_US,
    isMonth: windowsUs >= LEAST_DAYS * DAY_US,
    requests: requests.reduce((sum, each) => sum + each, 0),
    compared: order.length,
    empty: ranked.empty,
    longestSilence: ranked.silence && rangeOf(ranked.silence),
    silentS: Math.round(ranked.silentUs / US_PER_S),
    unstored: ranked.unstored,
    server: fitted && { ...picked(fitted, 'executors', 'isOpen', 'requests'), multiplier: ranked.multiplier },
    hardest: dimensions.map(({ dimension, subject, values }) => {
      const at = hardestIn(values);
      return { dimension, subject, from: formatInstantUs(recorded[at]!.fromUs), most: values[at]! };
    }),
    windows: [...listed].map((at) => windowOf(at, at === mix ? 'mix' : 'hardness')),
    hours: { at: [...hours.keys()].map((hour) => hour * 3_600), requests: [...hours.values()] },
    otherNames: ranked.otherNames,
  };
}

/** Whether it is a figure of the payloads, not of the load. */
export function isOfMix({ dimension }: Pick<Dimension, 'dimension'>): boolean {
  return WINDOW_DIMENSIONS.indexOf(dimension) >= WINDOW_DIMENSIONS.indexOf('promptTokens');
}

/** The window that covers most of the payload mix that the hardest one does not; null if it covers all. */
function mixWindow({ order, dimensions, recordedS }: RankedWindows): number | null {
  const [chosen] = order;
  const lacking = dimensions
    .filter(isOfMix)
    .map((each) => ({ ...each, most: each.values[hardestIn(each.values)]! }))
    .filter(({ values, most, subject }) => {
      const has = values[chosen!]!;
      const lengthS = recordedS[chosen!]!;
      if (has >= COVERED * most) return false;
      // Of names, requests are counted, and few requests differ by chance.
      return subject === null || (most - has) * lengthS > DEVIATIONS * Math.sqrt((most + has) * lengthS);
    });
  let best: { readonly at: number; readonly covered: number } | null = null;
  for (const at of order) {
    const covered = lacking.filter(({ values, most }) => values[at]! >= COVERED * most).length;
    if (covered > (best?.covered ?? 0)) best = { at, covered };
  }
  return best?.at ?? null;
}

function hardestIn(values: readonly number[]): number {
  return values.reduce((best, value, at) => (value > values[best]! ? at : best), 0);
}
