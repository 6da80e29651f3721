import { clocksOf, type Sighting } from './clock-skew.ts';
import type { RecorderLife } from './recorder-life.ts';
import { SegmentReader } from './segment-reader.ts';

const HOUR_US = 3_600_000_000;
/** Hours that are looked into, and exchanges of one segment in each: what `inspect` reads is bounded. */
const HOURS_MAX = 3;
const ROWS_MAX = 1_000;
const SEGMENTS_MAX = 96;

/**
 * Exchanges that recorders on different hosts saw both: equal bodies under one key, each once with either. Looked
 * for in the hours that most of them share, and nowhere when there is but one clock.
 */
export function commonSightings(lives: readonly RecorderLife[]): Sighting[][] {
  const comparable = sameKey(lives.filter((life) => life.isRecorded));
  if (clocksOf(comparable).length < 2) return [];
  let segments = 0;
  return sharedHours(comparable).flatMap((hour) => {
    const byHash = new Map<string, Sighting[]>();
    for (const life of comparable) {
      for (const segment of life.segments) {
        if (segments >= SEGMENTS_MAX || !segment.hours.some((sums) => sums.hour === hour)) continue;
        segments += 1;
        const reader = SegmentReader.open(segment.file);
        if (reader === null) continue;
        try {
          for (const { hash, arrivalUs, endUs } of reader.all<Row>(selectOf(hour))) {
            const seen = byHash.get(hash);
            const sighting = { recorder: life.id, arrivalUs, endUs };
            if (seen === undefined) byHash.set(hash, [sighting]);
            else seen.push(sighting);
          }
        } finally {
          reader.close();
        }
      }
    }
    return [...byHash.values()].filter(isOneExchange);
  });
}

interface Row {
  readonly hash: string;
  readonly arrivalUs: number;
  readonly endUs: number;
}

function selectOf(hour: number): string {
  return `SELECT hex(b.hash) AS hash, e.arrival_us AS arrivalUs,
      e.arrival_us + e.last_byte_offset_us AS endUs
    FROM exchange e JOIN body b ON b.id = e.request_body
    WHERE e.arrival_us >= ${hour * HOUR_US} AND e.arrival_us < ${(hour + 1) * HOUR_US}
      AND e.outcome = 0 AND e.last_byte_offset_us IS NOT NULL AND b.hash IS NOT NULL
    ORDER BY e.arrival_us LIMIT ${ROWS_MAX}`;
}

/** A body that one recorder saw twice may be another request each time. */
function isOneExchange(seen: readonly Sighting[]): boolean {
  return seen.length > 1 && new Set(seen.map(({ recorder }) => recorder)).size === seen.length;
}

/** The recorders of the key that most of them share. */
function sameKey(lives: readonly RecorderLife[]): RecorderLife[] {
  const byKey = Map.groupBy(lives, (life) => life.fingerprint);
  return [...byKey.values()].sort((a, b) => b.length - a.length)[0] ?? [];
}

/** Hours with the most recorders, and of those the busiest. */
function sharedHours(lives: readonly RecorderLife[]): number[] {
  const hours = new Map<number, { recorders: Set<string>; exchanges: number }>();
  for (const life of lives) {
    for (const { hour, exchanges } of life.segments.flatMap((segment) => segment.hours)) {
      const sums = hours.get(hour) ?? { recorders: new Set(), exchanges: 0 };
      sums.recorders.add(life.id);
      sums.exchanges += exchanges;
      hours.set(hour, sums);
    }
  }
  return [...hours]
    .filter(([, { recorders }]) => recorders.size > 1)
    .sort(([, a], [, b]) => b.recorders.size - a.recorders.size || b.exchanges - a.exchanges)
    .slice(0, HOURS_MAX)
    .map(([hour]) => hour);
}
