import type { TimeRange } from '../../src/core/ports.ts';
import { SERVICE_TIMES, uniform } from '../support/queue-simulator.ts';
import type { TrueTraffic } from '../support/true-windows.ts';

const HOUR_US = 3_600e6;
const DAY_US = 24 * HOUR_US;
/** A Monday. */
const BEGIN_US = Date.UTC(2026, 9, 5) * 1e3;
const DAYS = 56;
/** At noon of a working day. */
const PEAK_PER_S = 0.8;
const EXECUTORS = 4;
export const MONTH_LIMIT_S = 30;

/** Nothing was recorded for a day. */
export const HOLE: TimeRange = { fromUs: BEGIN_US + 16 * DAY_US, toUs: BEGIN_US + 17 * DAY_US };
/** At night, the server was slow for a while: latencies were long, and the load was light. */
export const INCIDENT: TimeRange = {
  fromUs: BEGIN_US + 23 * DAY_US + 2 * HOUR_US,
  toUs: BEGIN_US + 23 * DAY_US + 3 * HOUR_US,
};
const SLOWED = 30;
/** Afternoons on which a fifth of the requests have images, each eight times the work of a chat. */
const IMAGE_DAYS = new Set([9, 31, 44]);
const IMAGE_SHARE = 0.2;

/** Eight weeks with a daily and weekly cycle, growth, bursts, images, a slow hour and a hole. */
export function eightWeeks(seed: number): TrueTraffic {
  const random = uniform(seed);
  const arrivals: number[] = [];
  const services: number[] = [];
  const images: boolean[] = [];
  const add = (atUs: number) => {
    const day = Math.floor((atUs - BEGIN_US) / DAY_US);
    const hour = ((atUs - BEGIN_US) % DAY_US) / HOUR_US;
    const isImage = IMAGE_DAYS.has(day) && hour >= 14 && hour < 17 && random() < IMAGE_SHARE;
    arrivals.push(Math.round(atUs));
    images.push(isImage);
    services.push(isImage ? 8 * SERVICE_TIMES.steady(random) : SERVICE_TIMES.skewed(random));
  };
  for (let quarter = 0; quarter < DAYS * 96; quarter += 1) {
    const fromUs = BEGIN_US + (quarter * HOUR_US) / 4;
    if (fromUs >= HOLE.fromUs && fromUs < HOLE.toUs) continue;
    const perS = rateAt(fromUs) * SERVICE_TIMES.steady(random);
    const within = Array.from({ length: Math.round(perS * 900) }, () => fromUs + random() * 900e6);
    // About twice a day, somebody sends sixty requests within five seconds.
    if (random() < 2 / 96) {
      const burstUs = fromUs + random() * 890e6;
      within.push(...Array.from({ length: 60 }, () => burstUs + random() * 5e6));
    }
    for (const atUs of within.sort((a, b) => a - b)) add(atUs);
  }
  const arrivalsUs = Float64Array.from(arrivals);
  return {
    arrivalsUs,
    servicesS: Float64Array.from(services),
    executors: EXECUTORS,
    seen: (at) => ({
      route: images[at] ? 'POST /v1/images/edits' : 'POST /v1/chat/completions',
      requestBytes: images[at] ? 2_000_000 : 2_000,
    }),
    recordedS: (at, latencyS) => {
      const atUs = arrivalsUs[at]!;
      return atUs >= INCIDENT.fromUs && atUs < INCIDENT.toUs ? latencyS * SLOWED : latencyS;
    },
  };
}

function rateAt(us: number): number {
  const day = Math.floor((us - BEGIN_US) / DAY_US);
  const hour = ((us - BEGIN_US) % DAY_US) / HOUR_US;
  const daily = 0.1 + 0.9 * Math.max(0, Math.sin(((hour - 6) / 14) * Math.PI)) ** 1.5;
  const weekly = day % 7 < 5 ? 1 : 0.4;
  return PEAK_PER_S * daily * weekly * 1.01 ** (day / 7);
}
