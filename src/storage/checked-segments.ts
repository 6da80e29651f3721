import type { SegmentFile } from './capture-directory.ts';
import type { Connection } from './database.ts';
import { AbsentSegments } from './recorder-life.ts';
import { SegmentIdentities, type SegmentIdentity } from './segment-identities.ts';
import type { SegmentMeta } from './segment-meta.ts';
import {
  DAMAGED_SUFFIX,
  HANDED_SUFFIX,
  MANIFEST_SUFFIX,
  parseSegmentName,
  TOMBSTONE_SUFFIX,
} from './segment-name.ts';
import { type ExpirySummary, SELECT_EXPIRIES } from './segment-summary.ts';

/** Numbers of a recorder in a row that are not there, and nothing in the capture says why. */
export interface MissingSegments {
  readonly recorder: string;
  readonly from: number;
  readonly to: number;
}

/** Files that stand for a segment: it is there, or why it is not is told otherwise. */
const TRACES = ['', MANIFEST_SUFFIX, TOMBSTONE_SUFFIX, DAMAGED_SUFFIX, HANDED_SUFFIX];

/** What the segments of a capture that were checked say of each other, and of those that are not there. */
export class CheckedSegments {
  readonly #identities = new SegmentIdentities();
  readonly #absent = new AbsentSegments();

  /** @throws AppError CAPTURE_DAMAGED when it is not the segment that its name says, or one that was there before. */
  add(segment: SegmentFile, meta: SegmentMeta, connection: Connection): void {
    for (const expiry of connection.prepare<[], ExpirySummary>(SELECT_EXPIRIES).all()) {
      this.#absent.expired(expiry);
    }
    this.#identities.assertNew(segment, { meta, ...arrivalsIn(connection) });
  }

  /** @param files all that the directory held when the check began */
  missing(files: readonly string[]): MissingSegments[] {
    const missing: MissingSegments[] = [];
    for (const [recorder, numbers] of numbersIn(files)) {
      const there = [...numbers].sort((a, b) => a - b);
      let expected = 1;
      for (const number of there) {
        for (; expected < number; expected += 1) {
          const { kind } = this.#absent.whyOf(recorder, expected, number === there[0]);
          if (kind === 'missing') addTo(missing, recorder, expected);
        }
        expected = number + 1;
      }
    }
    return missing;
  }
}

function numbersIn(files: readonly string[]): Map<string, Set<number>> {
  const recorders = new Map<string, Set<number>>();
  for (const file of files) {
    const suffix = TRACES.findLast((trace) => file.endsWith(trace)) ?? '';
    const name = parseSegmentName(file.slice(0, file.length - suffix.length));
    if (name === null) continue;
    const numbers = recorders.get(name.recorder) ?? new Set();
    recorders.set(name.recorder, numbers.add(name.sequence));
  }
  return recorders;
}

function addTo(missing: MissingSegments[], recorder: string, number: number): void {
  const last = missing.at(-1);
  if (last?.recorder === recorder && last.to === number - 1) missing.splice(-1, 1, { ...last, to: number });
  else missing.push({ recorder, from: number, to: number });
}

/** What arrived in a segment, read from its rows. */
function arrivalsIn(connection: Connection): Pick<SegmentIdentity, 'span' | 'exchanges'> {
  const found = connection
    .prepare<[], { exchanges: number; firstUs: number | null; lastUs: number | null }>(
      'SELECT count(*) AS exchanges, min(arrival_us) AS firstUs, max(arrival_us) AS lastUs FROM exchange',
    )
    .get();
  const { exchanges = 0, firstUs = null, lastUs = null } = found ?? {};
  return { exchanges, span: firstUs === null || lastUs === null ? null : { firstUs, lastUs } };
}
