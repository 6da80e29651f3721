import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { growthOf, type LifeAccount, type LossReason, type Progress } from '../../core/accounting.ts';
import { AnchoredClock, type Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { Exchange } from '../../core/exchange.ts';
import { KeyedHash } from '../../core/keyed-hash.ts';
import { Routes } from '../../core/routes.ts';
import type { Labels } from '../../documents/parts.ts';
import { AssemblyBudget } from '../../http1/budget.ts';
import { Linker, type OnMissed } from '../../inference/links/linker.ts';
import type { RecorderOrder } from '../../proxy/control/messages.ts';
import { ExchangeMonitor } from '../../proxy/recorder/exchange-monitor.ts';
import { HeadCache } from '../../proxy/recorder/head-cache.ts';
import { PipeServer, WorkMark } from '../../proxy/recorder/pipe-server.ts';
import { type RecordingPolicy, recordingParts, storedPolicy } from '../../redaction/recording-policy.ts';
import {
  earlierAccounts,
  removeExpiredAccounts,
  takeInAccounts,
  writtenBy,
} from '../../storage/capture/accounts.ts';
import {
  defaultMaxDiskBytes,
  resolveCaptureDirectory,
  segmentsOf,
  unsealedSegments,
} from '../../storage/capture/directory.ts';
import { EncryptionKey } from '../../storage/capture/encryption.ts';
import { removeLeftovers } from '../../storage/capture/forget.ts';
import { type KeyChange, keyChanges, latestMetas, loadHashKey } from '../../storage/capture/keys.ts';
import { DirectoryLock } from '../../storage/capture/lock.ts';
import type { CaptureOrigin } from '../../storage/capture/schema.ts';
import { CaptureWriter, type CaptureWriterOptions } from '../../storage/capture/writer.ts';
import { memoryBudget } from './memory-budget.ts';
import type { MirrorSettings } from './mirror-options.ts';
import { loadCallSchema } from './proto-files.ts';
import type { ServerWatchSettings } from './server-watch.ts';

/** The settings of a recorder process. Plain data, because it is sent between processes. */
export interface RecorderSettings {
  readonly dir: string;
  /** Whether to add to a capture of another target, policy or key. */
  readonly append: boolean;
  /** All servers that traffic is forwarded to, including those of routes. A replay refuses them as targets. */
  readonly targets: readonly string[];
  /** Of the build that serves. */
  readonly labels: Labels;
  readonly policy: RecordingPolicy;
  /** Descriptor sets of gRPC services besides those that are known. */
  readonly proto: readonly string[];
  /** Null: the capture has its own key. */
  readonly hashKeyFile: string | null;
  /** Null: payloads are not encrypted. */
  readonly encryptionKeyFile: string | null;
  /** Null for the default, which depends on the directory's file system. */
  readonly maxDiskBytes: number | null;
  readonly retainMs: number | null;
  readonly fleetSize: number | null;
  /** A command that receives each sealed segment; null for none. */
  readonly onSeal: string | null;
  /** A second server that receives copies of requests; null for none. */
  readonly mirror: MirrorSettings | null;
  /** Servers to ask about themselves; null to ask nobody. */
  readonly serverDetails: ServerWatchSettings | null;
}

export type OpenCapture = ReturnType<typeof openCapture>;

/**
 * Further parts for opening a capture, which do not come from the proxy. The life of the account is the recorder's id.
 */
interface CaptureDeps {
  readonly clock: Clock;
  readonly segments: Pick<CaptureWriterOptions, 'onFinished' | 'onBegun' | 'onRemoved'>;
  readonly onFirstCommit: () => void;
  readonly onTaken: (exchange: Exchange) => void;
  /** Called if an internal error cost a part of the recording. */
  readonly onFailure: (what: string, error: unknown) => void;
}

/**
 * Opens the capture and connects it to the assembly of exchanges.
 * @throws AppError if the directory, the key or the lock is not available; then nothing is kept open
 */
export function openCapture(
  { settings, account, keepsWorkMark, earlier }: RecorderOrder<RecorderSettings, 'start'>,
  { clock, segments, onFirstCommit, onTaken, onFailure }: CaptureDeps,
) {
  const directory = resolveCaptureDirectory(settings.dir, 'write');
  const lock = DirectoryLock.acquire(directory);
  try {
    removeLeftovers(directory);
    const unsealed = unsealedSegments(directory);
    const isNew = segmentsOf(directory).length === 0;
    const { encryptionKeyFile, hashKeyFile } = settings;
    const encryption = encryptionKeyFile === null ? null : EncryptionKey.load(encryptionKeyFile);
    const hash = new KeyedHash(loadHashKey(directory, hashKeyFile, encryption));
    const hashKeyFingerprint = hash.fingerprint();
    const changes = allowedChanges(directory, settings, { encryption, hashKeyFingerprint });
    const epoch = new AnchoredClock(clock.anchor());
    const { life: id, startedUs } = account;
    takeInAccounts(directory, id);
    removeExpiredAccounts(directory, id);
    const written = writtenBy(directory, id);
    const parts = { ...recordingParts(settings.policy, hash, id), calls: loadCallSchema(settings.proto) };
    const maxDiskBytes = settings.maxDiskBytes ?? defaultMaxDiskBytes(directory);
    const writer = new CaptureWriter(
      {
        directory,
        recorder: { id, host: hostname(), startedUs },
        origin: originOf(settings),
        policy: storedPolicy(settings.policy),
        hashKeyFingerprint,
        encryption,
        fleetSize: settings.fleetSize,
        account: written.account,
        earlierAccounts: earlierAccounts(directory, id),
        maxDiskBytes,
        retainMs: settings.retainMs,
        segmentBy: 'clock',
        durability: 'commit',
        ...segments,
        newestSegment: account.segment ?? null,
        onUnpacked: (error) => onFailure('an exchange', error),
      },
      clock,
    );
    const monitor = new ExchangeMonitor(writer, clock, earlier?.traffic, onFirstCommit, onTaken);
    const budget = new AssemblyBudget(memoryBudget().assemblyBytes);
    const mark = keepsWorkMark ? WorkMark.open(directory) : null;
    const heads = new HeadCache(new Routes(parts.redaction));
    const epochUsOf = (monotonicNs: number) => epoch.epochUsOf(monotonicNs);
    const context = { ...parts, epochUsOf, budget, hash, heads, linker: linksOf(monitor, budget), onFailure };
    const recorder = new PipeServer(
      { sink: monitor, clock, mark, context },
      furthest(written.progress, account),
    );
    writer.setAccount(account);
    return {
      directory,
      isNew,
      maxDiskBytes,
      recorder,
      writer,
      monitor,
      budget,
      mark,
      epoch,
      /** Segments that earlier lives left open, except the one that this life continues. */
      unsealed: unsealed.filter((path) => path !== writer.continues),
      /** The exchanges of the same recording that earlier recorders have committed. */
      progress: written.progress,
      /** The keys that differ from the previous ones. */
      keyChanges: changes,
      /** Whether an account has losses or omissions that are not in any segment yet. */
      grew({ lost, omitted }: LifeAccount): boolean {
        const before = writer.writtenAccount;
        return (
          growthOf(lost, before?.lost ?? {}).length + growthOf(omitted, before?.omitted ?? {}).length > 0
        );
      },
      /** Commits, closes the segment and releases the directory. Open exchanges are lost for this reason. */
      close(because: LossReason): void {
        recorder.close(because);
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * The keys that change with this recording. Without `--append` a capture continues only as it is: nothing may differ
 * from its latest recorded segment. A part of the policy that an earlier version did not store is not compared.
 * @throws AppError OUTPUT_EXISTS naming every difference
 */
function allowedChanges(
  directory: string,
  settings: RecorderSettings,
  keys: Parameters<typeof keyChanges>[1],
): readonly KeyChange[] {
  const changes = keyChanges(directory, keys);
  if (settings.append) return changes;
  const differences = [...differencesOf(directory, settings), ...changes.map(({ message }) => message)];
  if (differences.length === 0) return changes;
  throw new AppError('OUTPUT_EXISTS', `${directory} has another capture: ${differences.join('; ')}`, {
    hint: 'Record into another --dir, or add to this capture with --append.',
  });
}

/** Apart from the keys. */
function differencesOf(directory: string, { targets, policy }: RecorderSettings): string[] {
  const [latest] = latestMetas(directory);
  if (latest?.origin.kind !== 'recorded') {
    return latestMetas(directory, 'imported').length > 0 ? ['it was imported and not recorded'] : [];
  }
  const { target, targets: before = [target] } = latest.origin;
  const now = storedPolicy(policy);
  const isSameTarget = isDeepStrictEqual(before.toSorted(), targets.toSorted());
  const parts = Object.entries(latest.policy).filter(
    ([part, value]) => part in now && JSON.stringify(now[part]) !== JSON.stringify(value),
  );
  return [
    ...(isSameTarget ? [] : [`its target is ${before.join(', ')} and not ${targets.join(', ')}`]),
    ...parts.map(
      ([part, value]) => `its ${part} is ${JSON.stringify(value)} and not ${JSON.stringify(now[part])}`,
    ),
  ];
}

/** The known committed progress. A capture that was removed and created again contains less than the account says. */
function furthest({ bytes, turns, exchanges }: Progress, { recorded, ...account }: LifeAccount): Progress {
  return {
    bytes: Math.max(bytes, recorded.bytes),
    turns: Math.max(turns, recorded.turns),
    exchanges: Math.max(exchanges, account.exchanges),
  };
}

function originOf({ targets, labels }: RecorderSettings): CaptureOrigin {
  const [target = ''] = targets;
  return {
    kind: 'recorded',
    target,
    ...(targets.length > 1 && { targets }),
    ...(Object.keys(labels).length > 0 && { labels }),
  };
}

/** Its salts are new for each process, and so is the beginning of its numbers. */
function linksOf(monitor: ExchangeMonitor, budget: AssemblyBudget): Linker {
  const random = randomBytes(12);
  const salts = [random.readInt32LE(0), random.readInt32LE(4)] as const;
  const onMissed: OnMissed = (limit, count) => monitor.noteMissedLinks(limit, count);
  return new Linker(salts, onMissed, random.readUInt32LE(8) >>> 1, budget);
}
