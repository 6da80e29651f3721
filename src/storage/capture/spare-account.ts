import { createHash } from 'node:crypto';
import { constants, lstatSync, readdirSync, type Stats, statSync } from 'node:fs';
import { lstat, mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { accountFileOf, lifeOfFile } from '../../core/accounting.ts';
import { hasCode } from './directory.ts';

/** Most files in the place of a user. A start removes the oldest ones beyond this number. */
const FILES_MAX = 256;
const PRIVATE_MODE = 0o700;

/**
 * The second place of an account, on another file system than the capture's. An account that only the capture's disk
 * holds says nothing after a kill: that disk may have refused newer ones. Each user has a directory of its own there,
 * as anybody may write to `/tmp`.
 */
export class SpareAccount {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Null if there is no such place. @param capture where the capture is or will be */
  static async of(capture: string, life: string): Promise<SpareAccount | null> {
    const device = await deviceOf(capture);
    for (const place of placesOf(process.geteuid?.() ?? 0)) {
      try {
        await mkdir(place, { mode: PRIVATE_MODE }).catch((error) => {
          if (!hasCode(error, 'EEXIST')) throw error;
        });
        if (!isPrivate(await lstat(place)) || (await stat(place)).dev === device) continue;
        await removeOldest(place);
        return new SpareAccount(join(place, `${keyOf(capture)}.${accountFileOf(life)}`));
      } catch {
        // This place is not there or takes no write. The next one may.
      }
    }
    return null;
  }

  /** Throws errors of the file system. */
  async write(bytes: Buffer): Promise<void> {
    const handle = await open(
      this.path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      await handle.write(bytes, 0, bytes.length, 0);
    } finally {
      await handle.close();
    }
  }

  /** The capture has the last account. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true }).catch(() => undefined);
    // This succeeds only if no other recording of this user has a file there.
    await rmdir(dirname(this.path)).catch(() => undefined);
  }
}

/** Spare accounts of a capture that are on this host, by their place. */
export function spareAccountsOf(captureDirectory: string): string[] {
  const capture = resolve(captureDirectory);
  const uids = new Set([process.geteuid?.() ?? 0, statSync(capture).uid]);
  const prefix = `${keyOf(capture)}.`;
  return [...uids].flatMap(placesOf).flatMap((place) => {
    const files = namesIn(place);
    return files.filter((file) => file.startsWith(prefix)).map((file) => join(place, file));
  });
}

/** The life of a spare account by the name of its file; null for other files. */
export function lifeOfSpare(path: string): string | null {
  const file = basename(path);
  return lifeOfFile(file.slice(file.indexOf('.') + 1));
}

function namesIn(place: string): string[] {
  try {
    return isPrivate(lstatSync(place), null) ? readdirSync(place) : [];
  } catch {
    // Nothing is there, or it is closed to this user.
    return [];
  }
}

/** First the place that outlives a restart of its container. */
function placesOf(uid: number): string[] {
  return [tmpdir(), '/dev/shm'].map((root) => join(root, `reprise-${uid}`));
}

/** @param owner the expected owner; null if the name of the place has been checked to be its owner's */
function isPrivate(status: Stats, owner: number | null = process.geteuid?.() ?? null): boolean {
  return status.isDirectory() && (status.mode & 0o077) === 0 && (owner === null || status.uid === owner);
}

function keyOf(capture: string): string {
  return createHash('sha256').update(resolve(capture)).digest('hex').slice(0, 16);
}

async function deviceOf(path: string): Promise<number> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    if (dirname(path) === path) throw error;
    return deviceOf(dirname(path));
  }
}

async function removeOldest(place: string): Promise<void> {
  const paths = (await readdir(place)).map((file) => join(place, file));
  if (paths.length < FILES_MAX) return;
  const files = await Promise.all(paths.map(async (path) => ({ path, atMs: (await stat(path)).mtimeMs })));
  files.sort((a, b) => a.atMs - b.atMs);
  for (const { path } of files.slice(0, files.length - FILES_MAX + 1)) await rm(path, { force: true });
}
