import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { AnchoredClock, type Clock } from '../core/clock.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { Redaction } from '../core/redaction.ts';
import { Routes } from '../core/routes.ts';
import { AssemblyBudget } from '../proxy/assembly/budget.ts';
import { KnownHeads } from '../proxy/assembly/known-heads.ts';
import type { BodyPolicy } from '../proxy/assembly/options.ts';
import { Recorder } from '../proxy/recorder.ts';
import {
  defaultMaxDiskBytes,
  resolveCaptureDirectory,
  unsealedSegments,
} from '../storage/capture-directory.ts';
import { CaptureWriter } from '../storage/capture-writer.ts';
import { DirectoryLock } from '../storage/directory-lock.ts';
import { loadHashKey } from '../storage/hash-key.ts';

/** What a recorder process is started with; plain data, because it travels between processes. */
export interface RecorderSettings {
  readonly dir: string;
  /** `host:port` of the model server. */
  readonly target: string;
  readonly policy: BodyPolicy;
  /** Null for the default of the directory's file system. */
  readonly maxDiskBytes: number | null;
}

/** A recorder with its capture open. */
export interface Recording {
  readonly recorder: Recorder;
  readonly writer: CaptureWriter;
  readonly epoch: AnchoredClock;
  /** Segments that earlier lives left open. */
  readonly unsealed: readonly string[];
  /** Commits, closes the segment and gives the directory back. */
  close(): void;
}

/**
 * Opens the capture and ties assembly to it.
 * @throws AppError when the directory, the key or the lock cannot be had; nothing is held then.
 */
export function openRecording(
  settings: RecorderSettings,
  clock: Clock,
  onFinished: (file: string) => void,
): Recording {
  const directory = resolveCaptureDirectory(settings.dir, 'write');
  const lock = DirectoryLock.acquire(directory);
  try {
    const unsealed = unsealedSegments(directory);
    const hash = new KeyedHash(loadHashKey(directory, null));
    const anchor = clock.anchor();
    const epoch = new AnchoredClock(anchor);
    const redaction = new Redaction();
    const writer = new CaptureWriter(
      {
        directory,
        recorder: { id: randomBytes(4).toString('hex'), host: hostname(), startedUs: anchor.epochUs },
        origin: { kind: 'recorded', target: settings.target },
        policy: { ...settings.policy, redaction: redaction.additions },
        hashKeyFingerprint: hash.fingerprint(),
        fleetSize: null,
        maxDiskBytes: settings.maxDiskBytes ?? defaultMaxDiskBytes(directory),
        retainMs: null,
        segmentBy: 'clock',
        durability: 'commit',
        onFinished,
      },
      clock,
    );
    const recorder = new Recorder({
      sink: writer,
      clock,
      context: {
        epochUsOf: (monotonicNs) => epoch.epochUsOf(monotonicNs),
        policy: settings.policy,
        budget: new AssemblyBudget(LIMITS.assemblyBudgetBytes),
        hash,
        redaction,
        heads: new KnownHeads(new Routes()),
      },
    });
    const close = () => {
      recorder.close();
      lock.release();
    };
    return { recorder, writer, epoch, unsealed, close };
  } catch (error) {
    lock.release();
    throw error;
  }
}
