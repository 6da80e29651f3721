import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../core/clock.ts';
import {
  type KilledLife,
  killedLifeOf,
  LEDGER_FILE,
  type LifeAccount,
  livesIn,
} from '../core/ledger-cell.ts';
import { SUPERVISION } from '../core/limits.ts';
import { segmentsOf } from './capture-directory.ts';
import { isHeld } from './directory-lock.ts';
import { hasCode, isMissing } from './durable-files.ts';
import type { SegmentMeta } from './segment-meta.ts';
import { hourOf } from './segment-name.ts';
import { SegmentReader } from './segment-reader.ts';
import type { HourSummary } from './segment-summary.ts';

/** How often a ledger is looked at that may be written. */
const LOOK_MS = 50;

/** The accounts that the ledger of a capture holds; none where there is no ledger, as in a copy without it. */
export function livesOf(captureDirectory: string): LifeAccount[] {
  try {
    const bytes = readFileSync(join(captureDirectory, LEDGER_FILE));
    return livesIn(bytes).filter((life) => life !== null);
  } catch (error) {
    // A capture that is read by another user's group, say: what its ledger holds is then not known here.
    if (isMissing(error) || hasCode(error, 'EACCES') || hasCode(error, 'EISDIR')) return [];
    throw error;
  }
}

/**
 * Recordings of a capture that were killed, and that no later one has found. The last that is open may run still: it
 * does where a recorder holds the lock, or where its ledger goes on being written (it is paused, or its recorder is
 * just being started again). A ledger that was written just now is watched for a moment, to be sure.
 */
export function killedIn(captureDirectory: string, clock: Clock = systemClock): LifeAccount[] {
  const [first] = openLives(captureDirectory);
  if (first === undefined) return [];
  const untilNs = clock.nowNs() + SUPERVISION.ledgerWatchMs * 1e6;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const [last, ...earlier] = openLives(captureDirectory);
    if (last === undefined) return [];
    const wasWritten = last.life !== first.life || last.number !== first.number;
    if (wasWritten || isHeld(captureDirectory)) return earlier;
    const silentUs = clock.epochUs() - last.atUs;
    if (silentUs > SUPERVISION.ledgerSilenceMs * 1e3 || clock.nowNs() >= untilNs) return [last, ...earlier];
    Atomics.wait(sleeper, 0, 0, LOOK_MS);
  }
}

/** The last written first. */
function openLives(captureDirectory: string): LifeAccount[] {
  return livesOf(captureDirectory)
    .filter(({ state }) => state === 'open')
    .sort((a, b) => b.atUs - a.atUs);
}

/** Whether a segment's recorder was one of this recording. */
export function isOfLife({ recorder, origin }: SegmentMeta, { startedUs, atUs }: LifeAccount): boolean {
  return origin.kind === 'recorded' && recorder.startedUs >= startedUs && recorder.startedUs <= atUs;
}

/** How many exchanges of a segment arrived by the moment until which a life's account is whole, those forgotten too. */
export function committedUntil(
  reader: SegmentReader,
  meta: SegmentMeta,
  hours: readonly Pick<HourSummary, 'exchanges'>[],
  { atUs, knownUntilUs = atUs }: LifeAccount,
): number {
  const all = hours.reduce((sum, { exchanges }) => sum + exchanges, 0);
  const [after] = reader.all<{ exchanges: number }>(
    `SELECT count(*) AS exchanges FROM exchange WHERE arrival_us > ${knownUntilUs}`,
  );
  return all + (meta.forgotten?.exchanges ?? 0) - (after?.exchanges ?? 0);
}

/**
 * The same over all segments of a life. What cannot be read keeps nobody from recording, whatever the reason: null is
 * told then, and all that the life left pending counts as lost.
 */
function committedBy(captureDirectory: string, life: LifeAccount): number | null {
  try {
    return committedOf(captureDirectory, life);
  } catch {
    return null;
  }
}

function committedOf(captureDirectory: string, life: LifeAccount): number {
  let sum = 0;
  for (const segment of segmentsOf(captureDirectory)) {
    if (segment.hour < hourOf(life.startedUs)) continue;
    const reader = SegmentReader.open(segment);
    if (reader === null) continue;
    try {
      const meta = reader.meta();
      const hours = isOfLife(meta, life) ? reader.all<HourSummary>('SELECT exchanges FROM hour') : [];
      if (hours.length > 0) sum += committedUntil(reader, meta, hours, life);
    } finally {
      reader.close();
    }
  }
  return sum;
}

/** What a recorder finds of the recordings before its own. */
export interface FollowedLives {
  /** Killed, and not noted in the capture by an earlier recording. */
  readonly killed: readonly KilledLife[];
  /** How many exchanges the capture holds of those that each saw until its last account. */
  readonly committed: readonly { readonly life: string; readonly exchanges: number }[];
}

/**
 * From when on nobody may have noted what was found: an earlier recorder of our own recording, and recordings right
 * before it that had nothing to write, may have died before they had a segment. What is noted twice counts once.
 */
function unnotedSince(lives: readonly LifeAccount[], life: string, nowUs: number): number {
  let sinceUs = lives.find((one) => one.life === life)?.startedUs ?? nowUs;
  const earlier = lives.filter((one) => one.life !== life && one.startedUs < sinceUs);
  for (const { startedUs, exchanges = 0, state } of earlier.sort((a, b) => b.startedUs - a.startedUs)) {
    if (exchanges > 0 && state !== 'open') break;
    sinceUs = startedUs;
    if (exchanges > 0) break;
  }
  return sinceUs;
}

/**
 * For whoever holds the lock and is about to write on. A ledger that cannot be read is told of by whoever writes it.
 * @param life what the recording that is about to write goes by
 */
export function followedBy(captureDirectory: string, life: string, nowUs: number): FollowedLives {
  const lives = readableLivesOf(captureDirectory);
  const open = lives.filter((one) => one.life !== life && one.state === 'open');
  const sinceUs = unnotedSince(lives, life, nowUs);
  const told = lives.filter(({ foundUs = null }) => foundUs !== null && foundUs >= sinceUs);
  const killed = [...told, ...open].map(killedLifeOf).filter((one) => one !== null);
  return {
    killed: killed.map((one) => ({ ...one, foundUs: one.foundUs ?? nowUs })),
    committed: open.flatMap((one) => {
      const exchanges = committedBy(captureDirectory, one);
      return exchanges === null ? [] : [{ life: one.life, exchanges }];
    }),
  };
}

function readableLivesOf(captureDirectory: string): LifeAccount[] {
  try {
    return livesOf(captureDirectory);
  } catch {
    return [];
  }
}
