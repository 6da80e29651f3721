import type { SegmentFile } from './capture-directory.ts';
import type { ExpiredSums } from './manifest.ts';
import { parseSegmentName } from './segment-name.ts';
import type { SegmentSummary } from './segment-summary.ts';

/** What retention took of a capture, and is not in it. */
export interface ExpiredDocument extends ExpiredSums {
  /**
   * False where it is at least so much: of expiries that are known only by their sum, segments that are here may be
   * a part, as in an archive that lacks some.
   */
  readonly exact: boolean;
}

type ToldExpiry = SegmentSummary['expiries'][number];

/** A segment that is here, and what becomes of it in the sums of whoever expired it where it was recorded. */
interface HeldSegment {
  readonly file: SegmentFile;
  readonly startedUs: number;
  readonly openedUs: number;
  readonly sums: ExpiredSums;
}

/** One that is gone, with others in its sum: when its life began and when it ended, both at the latest. */
interface SummedExpiry {
  readonly recorder: string;
  readonly sequence: number;
  readonly startedUs: number;
  readonly closedUs: number;
}

const NOTHING: ExpiredSums = { segments: 0, exchanges: 0, bytes: 0 };

/**
 * Adds up what expired. A segment tells of those that expired while it grew, each with the sum of what had been told
 * in that one; so where all of them are gone, sums of sums are exact. Where copies of them are here (an archive of
 * handed-over segments), what they tell is read from themselves, and they are not gone.
 */
export class ExpiredSegments {
  readonly #held = new Map<string, HeldSegment>();
  /** Here as well, but not read. */
  readonly #unread = new Set<string>();
  readonly #told = new Map<string, ToldExpiry>();

  add(file: SegmentFile, summary: SegmentSummary, bytes: number): void {
    const { meta, hours, expiries } = summary;
    const exchanges = hours.reduce((sum, hour) => sum + hour.exchanges, meta.forgotten?.exchanges ?? 0);
    const own = { segments: 1, exchanges, bytes: bytes + (meta.forgotten?.bytes ?? 0) };
    const { startedUs } = meta.recorder;
    this.#held.set(file.file, { file, startedUs, openedUs: meta.openedUs, sums: sumOf([own, ...expiries]) });
    for (const expiry of expiries) this.#told.set(expiry.file, expiry);
  }

  addUnread(file: string): void {
    this.#unread.add(file);
  }

  document(): ExpiredDocument {
    const told = [...this.#told.values()];
    const gone = told.filter(({ file }) => !this.#held.has(file) && !this.#unread.has(file));
    const most = sumOf(gone);
    const summed = gone.filter(({ segments }) => segments > 1).map((expiry) => this.#lifeOf(expiry));
    const held = [...this.#held.values()].filter(
      (segment) =>
        !this.#told.has(segment.file.file) && summed.some((expiry) => mayBeWithin(expiry, segment)),
    );
    const within = sumOf(held.map(({ sums }) => sums));
    const unreadTell = told.some(({ file, segments }) => segments > 1 && this.#unread.has(file));
    // Each that is gone counts itself, whatever of its sum is here.
    const named = sumOf(
      gone.map(({ ownExchanges, ownBytes }) => ({ segments: 1, exchanges: ownExchanges, bytes: ownBytes })),
    );
    const least = (of: keyof ExpiredSums) => Math.max(named[of], most[of] - within[of]);
    return {
      segments: least('segments'),
      exchanges: least('exchanges'),
      bytes: least('bytes'),
      exact: held.length === 0 && !unreadTell,
    };
  }

  #lifeOf({ file, lastArrivalUs, expiredUs }: ToldExpiry): SummedExpiry {
    const { recorder = '', sequence = 0 } = parseSegmentName(file) ?? {};
    const ofLife = [...this.#held.values()].filter((held) => held.file.recorder === recorder);
    const closedUs = ofLife
      .filter((held) => held.file.sequence > sequence)
      .reduce((least, { openedUs }) => Math.min(least, openedUs), expiredUs);
    return { recorder, sequence, startedUs: ofLife[0]?.startedUs ?? lastArrivalUs ?? closedUs, closedUs };
  }
}

/**
 * Whether a segment whose own expiry nothing here tells of may be in the sum of one that is gone: it was sealed
 * before that one was. Lives that share a directory follow each other.
 */
function mayBeWithin(gone: SummedExpiry, { file, startedUs, openedUs }: HeldSegment): boolean {
  if (!file.sealed) return false;
  if (file.recorder === gone.recorder) return file.sequence < gone.sequence;
  return openedUs < gone.closedUs && startedUs <= gone.startedUs;
}

function sumOf(parts: readonly ExpiredSums[]): ExpiredSums {
  return parts.reduce(
    (sum, { segments, exchanges, bytes }) => ({
      segments: sum.segments + segments,
      exchanges: sum.exchanges + exchanges,
      bytes: sum.bytes + bytes,
    }),
    NOTHING,
  );
}
