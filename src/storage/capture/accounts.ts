import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import {
  accountFileOf,
  type Counted,
  growthOf,
  type LifeAccount,
  type LossReason,
  lifeOfFile,
  NO_PROGRESS,
  type OmissionCause,
  type Progress,
} from '../../core/accounting.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs, HOUR_US } from '../../core/units.ts';
import { segmentsOf, sizeOf } from './directory.ts';
import type { SegmentMeta } from './schema.ts';
import { withSegment } from './segment-reader.ts';
import { lifeOfSpare, spareAccountsOf } from './spare-account.ts';

/** Account files of lives that left no segment. A start removes the oldest ones beyond this number. */
const FILES_MAX = 256;
/** How often to read an account file that may still be written. */
const LOOK_MS = 50;
const READ_ATTEMPTS = 3;
const READ_AGAIN_MS = 5;
/** Accounts of earlier lives in a segment: some kilobytes. */
const EARLIER_MAX = 32;

interface AccountFile {
  readonly path: string;
  readonly life: string;
  /** Null if it cannot be read: damaged, or empty because the disk was full from the start. */
  readonly account: LifeAccount | null;
}

/**
 * Account files of a capture: in its directory, beside it if that could not be written, and in the second place of each
 * account.
 */
function accountFilesIn(captureDirectory: string): AccountFile[] {
  const files = namedFilesIn(captureDirectory);
  // A copy of a capture has another name than the one that spare accounts are found by.
  const named = files.flatMap(({ account }) => account?.spare ?? []);
  const spares = new Set([...spareAccountsOf(captureDirectory), ...named]);
  return [
    ...files,
    ...[...spares].flatMap((path) => {
      const life = lifeOfSpare(path);
      if (life === null || !existsSync(path) || !isOurs(path, captureDirectory)) return [];
      return [{ path, life, account: accountAt(path, life) }];
    }),
  ];
}

function namedFilesIn(captureDirectory: string): AccountFile[] {
  const capture = resolve(captureDirectory);
  const prefix = besideOf(capture, '');
  const beside = namesIn(dirname(capture)).map((file) => join(dirname(capture), file));
  return [...readdirSync(capture).map((file) => join(capture, file)), ...beside].flatMap((path) => {
    const isBeside = path.startsWith(prefix);
    const life = lifeOfFile(isBeside ? path.slice(prefix.length) : basename(path));
    if (life === null || (isBeside ? !isOurs(path, capture) : dirname(path) !== capture)) return [];
    return [{ path, life, account: accountAt(path, life) }];
  });
}

/** Appended to the name of an account file until it is complete. */
export const UNNAMED_SUFFIX = '.new';

/** The place of an account whose capture cannot be written. */
export function besideOf(captureDirectory: string, file: string): string {
  return `${captureDirectory}.${file}`;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // Only the capture may be open to this user.
    return [];
  }
}

/** Others may write beside a capture. Their files do not count. */
function isOurs(path: string, capture: string): boolean {
  const uid = lstatSync(path, { throwIfNoEntry: false })?.uid;
  return uid === process.geteuid?.() || uid === statSync(capture).uid;
}

/** It may be read while it is written, so an unreadable one is read again. */
function accountAt(path: string, life: string): LifeAccount | null {
  for (let attempt = 0; attempt < READ_ATTEMPTS; attempt += 1) {
    try {
      const account = JSON.parse(readFileSync(path, 'utf8')) as LifeAccount;
      return account.life === life ? account : null;
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, READ_AGAIN_MS);
    }
  }
  return null;
}

/** Accounts of a capture. Unreadable ones are left out. */
export function accountsIn(captureDirectory: string): LifeAccount[] {
  return accountFilesIn(captureDirectory).flatMap(({ account }) => account ?? []);
}

/**
 * The newest account of each life, for a copy of the capture. Nobody writes the account of a copy, so a recording that
 * runs ends there with this account. One that was killed stays so.
 */
export function newestAccountsIn(captureDirectory: string): LifeAccount[] {
  const running = runningIn(captureDirectory);
  return [...Map.groupBy(accountsIn(captureDirectory), ({ life }) => life)].flatMap(([life, accounts]) => {
    const newest = accounts.reduce((a, b) => (b.atUs > a.atUs ? b : a));
    const spare = isSettled(newest) ? null : newest.spare;
    return { ...newest, ended: newest.ended || running.has(life), ...(spare === undefined ? {} : { spare }) };
  });
}

/**
 * Moves accounts of earlier lives into the capture that are elsewhere because it could not be written. One that cannot
 * be moved is read there. A recording that still writes its file continues in the new place. The caller must hold the
 * lock.
 */
export function takeInAccounts(captureDirectory: string, ownLife: string): void {
  const capture = resolve(captureDirectory);
  const isHere = ({ path }: AccountFile) => dirname(path) === capture;
  for (const [life, files] of Map.groupBy(accountFilesIn(capture), (file) => file.life)) {
    const elsewhere = files.filter((file) => !isHere(file));
    if (elsewhere.length === 0) continue;
    const newest = files.reduce((a, b) => ((b.account?.atUs ?? -1) > (a.account?.atUs ?? -1) ? b : a));
    const place = join(capture, accountFileOf(life));
    try {
      if (newest.account === null || life === ownLife) {
        const beside = elsewhere.find(({ path }) => path.startsWith(besideOf(capture, '')));
        if (beside !== undefined && !files.some(isHere)) renameSync(beside.path, place);
        continue;
      }
      const account = isSettled(newest.account) ? { ...newest.account, spare: null } : newest.account;
      writeFileSync(`${place}${UNNAMED_SUFFIX}`, JSON.stringify(account), { mode: 0o600 });
      renameSync(`${place}${UNNAMED_SUFFIX}`, place);
      for (const { path } of elsewhere) rmSync(path, { force: true });
    } catch {
      // The disk fails, or a file is another user's.
    }
  }
}

/** The newest accounts of other lives. The next segment stores them, so that they stay with the segments. */
export function earlierAccounts(captureDirectory: string, life: string): LifeAccount[] {
  return accountsIn(captureDirectory)
    .filter((account) => account.life !== life)
    .sort((a, b) => b.atUs - a.atUs)
    .slice(0, EARLIER_MAX);
}

/** What a life has written into its newest segment. */
interface WrittenAccount {
  readonly account: LifeAccount | null;
  readonly progress: Progress;
}

/**
 * The newest account in the segments of a life. The next recorder continues from it. A recorder that was killed before
 * its first commit leaves a segment without one.
 */
export function writtenBy(captureDirectory: string, life: string): WrittenAccount {
  let account: LifeAccount | null = null;
  let progress: Progress | null = null;
  const segments = segmentsOf(captureDirectory).filter(({ recorder }) => recorder === life);
  for (const segment of segments.sort((a, b) => b.sequence - a.sequence)) {
    try {
      const meta = withSegment(segment, (reader) => reader.meta());
      account ??= meta?.account ?? null;
      progress ??= meta?.progress ?? null;
    } catch {
      // Sealing reports a damaged segment; the segment before it holds almost the same account.
    }
    if (account !== null && progress !== null) break;
  }
  return { account, progress: progress ?? NO_PROGRESS };
}

/**
 * Removes accounts of lives that ended before everything the capture still holds: their exchanges have
 * expired. The caller must hold the lock.
 */
export function removeExpiredAccounts(captureDirectory: string, life: string): void {
  const segments = segmentsOf(captureDirectory);
  const lives = new Set(segments.map(({ recorder }) => recorder));
  const oldestUs = segments.length === 0 ? 0 : Math.min(...segments.map(({ hour }) => hour)) * HOUR_US;
  const others = accountFilesIn(captureDirectory)
    .filter((file) => file.life !== life && !lives.has(file.life))
    .sort((a, b) => atUsOf(b) - atUsOf(a));
  for (const [index, file] of others.entries()) {
    if (index < FILES_MAX && atUsOf(file) >= oldestUs) continue;
    rmSync(file.path, { force: true });
  }
  for (const file of readdirSync(captureDirectory)) {
    if (!file.endsWith(UNNAMED_SUFFIX) || lifeOfFile(basename(file, UNNAMED_SUFFIX)) === null) continue;
    rmSync(join(captureDirectory, file), { force: true });
  }
}

/** When an account was last written. If it cannot be read, the time of its file. */
function atUsOf({ path, account }: AccountFile): number {
  return account?.atUs ?? (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) * 1e3;
}

/**
 * A recording that was killed. Exchanges after its last account were not counted. Times are ISO 8601, UTC.
 */
export interface KilledDocument {
  readonly life: string;
  readonly startedAt: string;
  readonly knownUntil: string;
  /** When the next recording of the capture began; null if none has begun. */
  readonly foundAt: string | null;
  /** Exchanges that it may have seen after its last account; null if unknown. */
  readonly uncountedAtMost: number | null;
  /**
   * Why that is unknown. `older_account`: of a version that did not keep a limit on every disk. `account_elsewhere`: a
   * newer account may be on the host that recorded, in the file that `spare` of its account names. `one_place`: no
   * second file system was there, or its accounts come with segments alone.
   */
  readonly unknownBecause: 'older_account' | 'account_elsewhere' | 'one_place' | null;
}

/** How a life ended, as far as its accounts show. */
export type LifeEnd = 'stopped' | 'killed' | 'recording' | 'unknown';

/** What the segments and the account files show of a life. */
interface Life {
  /** Whether one of its segments is here. */
  hasSegments: boolean;
  /** Whether its account file is here, and not only a copy of it in the segment of another life. */
  hasFile: boolean;
  /** The newest one outside of its own segments; null if there is none. */
  account: LifeAccount | null;
  /** The newest account in its own segments, and the greatest progress of the recorder in them. */
  written: LifeAccount | null;
  progress: Progress;
  /** A later process closed its last segment. */
  recovered: boolean;
  running: boolean;
}

const NO_LIFE: Life = {
  hasSegments: false,
  hasFile: false,
  account: null,
  written: null,
  progress: NO_PROGRESS,
  recovered: false,
  running: false,
};

type KnownLife = Life & { readonly account: LifeAccount };

/** The accounts of all lives in captures: from the segments, and newer ones from the files beside them. */
export class LifeAccounts {
  /** Empty for all. Accounts of other recorders count only for when they began. */
  readonly #recorders: ReadonlySet<string>;
  /** Whether retention may have removed segments of a life. */
  readonly #mayHaveExpired: (life: string) => boolean;
  readonly #lives = new Map<string, Life>();
  /** Account files that cannot be read, by life. */
  readonly #unreadable = new Map<string, AccountFile>();
  readonly #startsUs: number[] = [];
  #oldestUs = Number.POSITIVE_INFINITY;

  constructor(recorders: ReadonlySet<string>, mayHaveExpired: (life: string) => boolean) {
    this.#recorders = recorders;
    this.#mayHaveExpired = mayHaveExpired;
  }

  addDirectory(captureDirectory: string): void {
    const running = runningIn(captureDirectory);
    for (const file of accountFilesIn(captureDirectory)) {
      const { life, account } = file;
      if (account !== null) this.#learn(account);
      if (!this.#isChosen(life)) continue;
      if (account === null) this.#unreadable.set(life, file);
      else this.#lifeOf(life).hasFile = true;
      if (running.has(life)) this.#lifeOf(life).running = true;
    }
  }

  addSegment({ recorder, openedUs, origin, recoveredUs, ...meta }: SegmentMeta): void {
    if (origin.kind !== 'recorded') return;
    const { account, progress, earlierAccounts } = meta;
    this.#startsUs.push(recorder.startedUs);
    this.#oldestUs = Math.min(this.#oldestUs, openedUs);
    for (const earlier of earlierAccounts) this.#learn(earlier);
    const life = this.#lifeOf(recorder.id);
    life.hasSegments = true;
    life.recovered = recoveredUs !== null;
    if (account !== null && account.atUs > (life.written?.atUs ?? 0)) life.written = account;
    if (progress !== null && progress.exchanges >= life.progress.exchanges) life.progress = progress;
  }

  /** The newest account of a life; null if there is none. */
  accountOf(id: string): LifeAccount | null {
    const { account, written } = this.#lives.get(id) ?? NO_LIFE;
    return account ?? written;
  }

  endOf(id: string): LifeEnd {
    const life = this.#lives.get(id) ?? NO_LIFE;
    if (life.running) return 'recording';
    if (life.account?.ended === true) return 'stopped';
    return life.account === null ? 'unknown' : 'killed';
  }

  /** The lives that recorded something and have no segment here, although nothing of them has expired. */
  get withoutSegments(): string[] {
    return this.#current().flatMap(({ account, hasSegments }) =>
      hasSegments || account.exchanges === 0 ? [] : [account.life],
    );
  }

  /** Whether everything seen was counted. If false, totals are lower bounds. */
  get exact(): boolean {
    return this.unreadable.length === 0 && this.uncountedAtMost === 0 && this.#killed().length === 0;
  }

  /** Lives without a readable account. What they saw is unknown. */
  get unreadable(): string[] {
    return [...this.#unreadable.keys()].filter((life) => !this.#lives.get(life)?.account).sort();
  }

  /** Exchanges that may have been seen after the last account of killed recordings; null if unknown. */
  get uncountedAtMost(): number | null {
    const crashed = [...this.#lives.values()].some((life) => life.account === null && life.recovered);
    if (crashed || this.unreadable.length > 0) return null;
    return this.#current()
      .filter(isKilled)
      .reduce<number | null>((sum, life) => {
        const most = uncountedBy(life);
        return sum === null || most === null ? null : sum + most;
      }, 0);
  }

  losses(): (Counted & { readonly name: LossReason })[] {
    return this.#current().flatMap((life) => {
      const { account, written, progress } = life;
      const lost = growthOf(account.lost, written?.lost ?? {});
      const known = { ...account.recorded, exchanges: account.exchanges };
      const late = counted((unit) => Math.max(0, progress[unit] - known[unit]));
      // The commit succeeded but its acknowledgement was never read. The account still says pending or lost.
      if (!isKilled(life)) return account.ended ? without(lost, late) : lost;
      const { turns, bytes } = account.pending;
      const pending = { name: 'crash_gap' as const, turns, bytes, exchanges: turns };
      return [...lost, ...without([pending], late)];
    });
  }

  omissions(): (Counted & { readonly name: OmissionCause })[] {
    return this.#current().flatMap(({ account, written }) =>
      growthOf(account.omitted, written?.omitted ?? {}),
    );
  }

  /** Whether one of the ranges includes a time without counting. */
  touches(ranges: readonly TimeRange[]): boolean {
    const uncounted = [
      ...this.#killed().map(({ account, foundUs }) => [account.atUs, foundUs]),
      ...this.#lost(),
    ];
    return uncounted.some(([sinceUs, untilUs]) =>
      ranges.some(
        ({ fromUs, toUs }) => toUs > (sinceUs ?? 0) && fromUs < (untilUs ?? Number.POSITIVE_INFINITY),
      ),
    );
  }

  /** Sorted by end. */
  killed(): KilledDocument[] {
    return this.#killed().map(({ account, progress, foundUs }) => ({
      life: account.life,
      startedAt: formatInstantUs(account.startedUs),
      knownUntil: formatInstantUs(account.atUs),
      foundAt: foundUs === null ? null : formatInstantUs(foundUs),
      uncountedAtMost: uncountedBy({ account, progress }),
      unknownBecause: unknownBecause(account),
    }));
  }

  /**
   * Omits lives that ended before the first segment here, if their segments may have expired, or if only the segment
   * of another life has their account. They say nothing about this capture.
   */
  #current(): KnownLife[] {
    return [...this.#lives.values()].filter(isKnown).filter(
      // A life that has recorded nothing never had a segment that could have expired.
      ({ account, hasSegments, hasFile }) =>
        hasSegments ||
        !(account.atUs < this.#oldestUs) ||
        account.recorded.bytes === 0 ||
        (hasFile && !this.#mayHaveExpired(account.life)),
    );
  }

  /**
   * Killed lives, each with the next start of any life, because nothing was counted until then. Null if nothing
   * followed.
   */
  #killed(): (Pick<KnownLife, 'account' | 'progress'> & { readonly foundUs: number | null })[] {
    return this.#current()
      .filter(isKilled)
      .map(({ account, progress }) => ({ account, progress, foundUs: this.#nextStart(account.atUs) }))
      .sort((a, b) => a.account.atUs - b.account.atUs);
  }

  /** The times of lives without a readable account. An empty file is as old as its recording. */
  #lost(): (readonly [sinceUs: number, untilUs: number | null])[] {
    return this.unreadable.map((life) => {
      const file = this.#unreadable.get(life) as AccountFile;
      const sinceUs = atUsOf(file);
      return [sizeOf(file.path) === 0 ? sinceUs : 0, this.#nextStart(sinceUs)];
    });
  }

  /** Null if nothing followed. */
  #nextStart(afterUs: number): number | null {
    return this.#startsUs.toSorted((a, b) => a - b).find((us) => us > afterUs) ?? null;
  }

  #learn(account: LifeAccount): void {
    this.#startsUs.push(account.startedUs);
    if (!this.#isChosen(account.life)) return;
    const life = this.#lifeOf(account.life);
    if (life.account === null || account.atUs > life.account.atUs) life.account = account;
  }

  #lifeOf(id: string): Life {
    const life = this.#lives.get(id) ?? { ...NO_LIFE };
    this.#lives.set(id, life);
    return life;
  }

  #isChosen(life: string): boolean {
    return this.#recorders.size === 0 || this.#recorders.has(life);
  }
}

function isKnown(life: Life): life is KnownLife {
  return life.account !== null;
}

/** Whether no newer account can be elsewhere: there is none, or it was read here. */
function isSettled({ spare }: LifeAccount): boolean {
  return spare === null || (spare !== undefined && existsSync(spare));
}

function unknownBecause(account: LifeAccount): KilledDocument['unknownBecause'] {
  if (account.spare === undefined) return 'older_account';
  if (!isSettled(account)) return 'account_elsewhere';
  return account.turnsAhead === null ? 'one_place' : null;
}

/** Turns that a killed life may have seen after its account; null if unknown. */
function uncountedBy({ account, progress }: Pick<KnownLife, 'account' | 'progress'>): number | null {
  if (unknownBecause(account) !== null) return null;
  // Turns that were committed beyond the account's pending ones were seen after it, and are counted.
  const counted = Math.max(0, progress.turns - account.recorded.turns - account.pending.turns);
  return Math.max(0, (account.turnsAhead ?? 0) - counted);
}

function isKilled({ account, running }: KnownLife): boolean {
  return !account.ended && !running;
}

/** Losses that the recorder may have committed in part without an acknowledgement. */
const UNREAD: ReadonlySet<LossReason> = new Set(['writer_down', 'crash_gap', 'shutdown_timeout']);

/** Losses without the part that was recorded after all. */
function without(
  losses: readonly (Counted & { readonly name: LossReason })[],
  recorded: Counted,
): (Counted & { readonly name: LossReason })[] {
  let left = recorded;
  return losses.map((loss) => {
    if (!UNREAD.has(loss.name)) return loss;
    const before = left;
    left = counted((unit) => Math.max(0, before[unit] - loss[unit]));
    return { name: loss.name, ...counted((unit) => Math.max(0, loss[unit] - before[unit])) };
  });
}

function counted(of: (unit: keyof Counted) => number): Counted {
  return { turns: of('turns'), bytes: of('bytes'), exchanges: of('exchanges') };
}

/**
 * The lives that record into a capture now: an open life whose account file is still updated. That also holds
 * while it is paused or waits for the capture. Recently written accounts are watched for a moment to decide.
 */
function runningIn(captureDirectory: string, clock: Clock = systemClock): ReadonlySet<string> {
  const silenceUs = SUPERVISION.accountSilenceMs * 1e3;
  const first = openIn(captureDirectory).filter(({ atUs }) => clock.epochUs() - atUs <= silenceUs);
  const untilNs = clock.nowNs() + SUPERVISION.accountWatchMs * 1e6;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const running = new Set<string>();
  while (running.size < first.length && clock.nowNs() < untilNs) {
    Atomics.wait(sleeper, 0, 0, LOOK_MS);
    const now = openIn(captureDirectory);
    for (const { life, atUs } of first) {
      const unchanged = now.some((account) => account.life === life && account.atUs === atUs);
      if (!unchanged) running.add(life);
    }
  }
  return running;
}

function openIn(captureDirectory: string): LifeAccount[] {
  return accountsIn(captureDirectory).filter(({ ended }) => !ended);
}
