import { existsSync, renameSync, statfsSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { LifeAccount, LossReason, MirrorReading } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { type DiskEstimate, estimateDisk, isTooLittle } from '../../core/disk-estimate.ts';
import { AppError, originOf, reasonOf } from '../../core/errors.ts';
import { MIRROR, SUPERVISION } from '../../core/limits.ts';
import { type Logger, NoticeLimit } from '../../core/ports.ts';
import type { FromRecorder, RecorderOrder, StoreReading, ToRecorder } from '../../proxy/control/messages.ts';
import { leaveAccount } from '../../storage/capture/account-keeper.ts';
import { directoryBytes, fileSizesOf } from '../../storage/capture/directory.ts';
import { type OpenCapture, openCapture, type RecorderSettings } from './capture.ts';
import type { Mirror } from './mirror.ts';
import type { MirrorSettings } from './mirror-options.ts';
import type { RetryQueue } from './retry-queue.ts';
import { SealHook } from './seal-hook.ts';
import { sealerThread, sealingQueue } from './sealing.ts';
import { ServerWatch } from './server-watch.ts';

/**
 * The file beside the segments with the figures of the recording's mirror. The next recording with a mirror replaces
 * it.
 */
const MIRROR_FILE = 'mirror.json';
/** How often the wall clock is paired with the monotonic one, ms. */
const ANCHOR_MS = 60_000;
/** Interval of measuring the size of the capture's files, ms. */
const STORE_MS = 10_000;
/** Interval of log lines about failed recordings. All failures are counted. */
const FAILURE_NOTICE_MS = 60_000;

const REMOVED = {
  database:
    'a segment was removed while it was open: what it held is missing, and recording goes on in the next one',
  log: 'the log of a segment was removed while it was open: nothing is lost, and recording goes on in the next one',
};

interface RecorderProcessDeps {
  readonly clock: Clock;
  readonly sealerEntry: URL;
  /** Our end of the pipe to the proxy. */
  readonly pipe: () => Socket;
  readonly say: (message: FromRecorder) => void;
  readonly onEnd: () => void;
}

/** A recorder that its proxy controls. Without the proxy it records the rest of the pipe, and ends. */
export class RecorderProcess {
  readonly #deps: RecorderProcessDeps;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #sealer: RetryQueue;
  #hook: SealHook | null = null;
  #capture: OpenCapture | null = null;
  #pipe: Socket | null = null;
  #store: StoreReading | null = null;
  #housekeepingError: string | null = null;
  readonly #failureLimit: NoticeLimit;
  /** The account of the recording when this recorder was started. */
  #account: LifeAccount | null = null;
  #bodiesCutBefore = 0;
  /** Null without a mirror, and until its code is loaded. */
  #mirror: Mirror | null = null;
  #serverWatch: ServerWatch | null = null;
  /** Figures of the previous recorder's mirror, until this one has its own. */
  #mirroredBefore: MirrorReading | null = null;

  constructor(deps: RecorderProcessDeps) {
    this.#deps = deps;
    this.#failureLimit = new NoticeLimit(deps.clock, FAILURE_NOTICE_MS);
    const logger = this.#logger();
    const attempt = sealerThread(deps.sealerEntry);
    this.#sealer = sealingQueue({ logger, attempt, onSealed: (file) => this.#hook?.handOver(file) });
  }

  hear(message: ToRecorder<RecorderSettings>): void {
    if (message.type === 'start') this.#start(message);
    else if (message.type === 'account') this.#write(message.account);
    else void this.#stop(message);
  }

  /** The proxy was killed. Its end of the pipe is closed, so the rest is read to its end. */
  orphaned(): void {
    const end = () => {
      if (this.#capture && this.#account) leaveAccount(this.#capture.directory, this.#account);
      this.#close('crash_gap');
      this.#deps.onEnd();
    };
    if (this.#pipe === null || this.#pipe.closed) end();
    else this.#pipe.on('close', end);
  }

  #start(message: RecorderOrder<RecorderSettings, 'start'>): void {
    const { clock, say } = this.#deps;
    const { settings, account, earlier } = message;
    this.#account = account;
    this.#bodiesCutBefore = earlier?.bodiesCut ?? 0;
    if (settings.mirror !== null) this.#mirroredBefore = earlier?.mirror ?? null;
    try {
      this.#capture = openCapture(message, {
        clock,
        segments: {
          onFinished: (file) => void this.#sealer.add([file]),
          onBegun: (file) => say({ type: 'segment', file }),
          onRemoved: ({ what, ...removed }) => this.#logger().error(removed, REMOVED[what]),
        },
        onFirstCommit: () => say({ type: 'committed' }),
        onTaken: (exchange) => {
          this.#mirror?.offer(exchange);
          this.#serverWatch?.offer(exchange);
        },
        onFailure: (what, error) => {
          if (this.#failureLimit.passes())
            this.#logger().error(
              { what, ...originOf(error) },
              'something was not recorded: handling it failed',
            );
        },
      });
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      say({ type: 'fault', message: reasonOf(error), hint });
      this.#deps.onEnd();
      return;
    }
    const { recorder, writer, epoch, mark, directory, maxDiskBytes, unsealed, progress, isNew } =
      this.#capture;
    say({ type: 'ready', isNew, directory, maxDiskBytes, progress });
    const logger = this.#logger();
    for (const { message: text, ...fields } of this.#capture.keyChanges) logger.warn(fields, text);
    if (settings.onSeal !== null) this.#hook = new SealHook({ command: settings.onSeal, logger });
    void this.#hook?.resume(directory);
    void this.#sealer.add(unsealed);
    for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
    this.#every(ANCHOR_MS, () => {
      epoch.anchor(clock.anchor(), ANCHOR_MS * 1e6);
      for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
      this.#housekept(writer.housekeep().error);
    });
    setTimeout(() => mark?.retire(), SUPERVISION.deathWindowMs).unref();
    this.#every(STORE_MS, () => this.#measureStore());
    const estimates = new DiskEstimates(clock, maxDiskBytes, settings.retainMs);
    this.#every(SUPERVISION.heartbeatMs, () => {
      if (!existsSync(directory)) this.#giveUp(directory);
      this.#beat();
      const estimate = estimates.observe(writer.stored);
      if (estimate !== null) say({ type: 'estimate', estimate });
    });
    this.#pipe = this.#deps.pipe();
    recorder.attach(this.#pipe);
    this.#measureStore();
    this.#beat();
    if (settings.mirror !== null) this.#mirrorTo(message, settings.mirror);
    this.#serverWatch = new ServerWatch({
      settings: settings.serverDetails,
      policy: settings.policy,
      clock,
      onDetails: (details) => writer.setServerDetails(details),
      onFailure: (error) =>
        this.#logger().error(originOf(error), 'nothing more is kept of what the server says of itself'),
    });
    this.#serverWatch.begin();
  }

  /** If the mirror cannot be started, recording continues. */
  #mirrorTo(message: RecorderOrder<RecorderSettings, 'start'>, settings: MirrorSettings): void {
    this.#startMirror(message, settings).catch((error: unknown) => {
      this.#logger().error({ reason: reasonOf(error) }, 'nothing is mirrored');
    });
  }

  /** Its code is loaded only if there is a mirror. */
  async #startMirror(
    { settings: { policy }, account: { life }, earlier }: RecorderOrder<RecorderSettings, 'start'>,
    settings: MirrorSettings,
  ): Promise<void> {
    const { Mirror } = await import('./mirror.ts');
    const directory = this.#capture?.directory;
    if (directory === undefined) return;
    const { clock } = this.#deps;
    const parts = { sample: policy.sample, life, earlier: earlier?.mirror ?? null };
    const mirror = new Mirror({ ...parts, settings, clock, logger: this.#logger() });
    this.#mirror = mirror;
    this.#every(MIRROR.documentMs, () => this.#writeMirror(mirror, directory));
  }

  /** Writes the mirror's figures into its file. */
  #writeMirror(mirror: Mirror, directory: string): void {
    const path = join(directory, MIRROR_FILE);
    const document = { schema: 'reprise-mirror/1', ...mirror.reading() };
    try {
      writeFileSync(`${path}.new`, `${JSON.stringify(document, null, 2)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      // Only a warning: the capture's own writes fail on a broken disk as well, and these failures are counted and
      // retried.
      this.#logger().warn({ reason: reasonOf(error) }, `${MIRROR_FILE} was not written`);
    }
  }

  /** Commits losses within a second, so that a killed recording leaves few losses unwritten. */
  #write(account: LifeAccount): void {
    const capture = this.#capture;
    if (!capture) return;
    capture.writer.setAccount(account);
    if (capture.grew(account)) capture.recorder.commit();
  }

  /**
   * The capture directory was removed. Files written now could never be found, so this recorder gives up. The next one
   * creates the directory again.
   */
  #giveUp(directory: string): void {
    this.#capture = null;
    this.#deps.say({
      type: 'fault',
      message: `${directory} is gone`,
      hint: 'The directory is created again. To limit the size of a recording, use --max-disk and --retain.',
    });
    this.#deps.onEnd();
  }

  /** Logs an error once while it stays the same, because housekeeping is repeated every minute. */
  #housekept(error: string | null): void {
    if (error !== null && error !== this.#housekeepingError)
      this.#logger().error({ reason: error }, 'housekeeping of the capture failed');
    this.#housekeepingError = error;
  }

  async #stop({ account, because, ships }: RecorderOrder<RecorderSettings, 'stop'>): Promise<void> {
    this.#capture?.writer.setAccount(account);
    this.#close(because);
    this.#deps.say({ type: 'closed' });
    await this.#sealer.stopWithin(SUPERVISION.sealMs);
    await this.#hook?.settle(ships ? SUPERVISION.sealHookMs : 0);
    this.#deps.onEnd();
  }

  #close(because: LossReason): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    const mirror = this.#mirror;
    // From here on, recorded exchanges are not mirrored.
    this.#mirror = null;
    this.#serverWatch?.close();
    this.#serverWatch = null;
    mirror?.close();
    if (mirror !== null && this.#capture) this.#writeMirror(mirror, this.#capture.directory);
    this.#capture?.close(because);
    this.#capture = null;
  }

  #beat(): void {
    if (!this.#capture) return;
    const { recorder, monitor, budget } = this.#capture;
    this.#deps.say({
      type: 'beat',
      beat: {
        rssBytes: process.memoryUsage.rss(),
        shedding: recorder.shedding,
        bodiesCut: this.#bodiesCutBefore + budget.refusals,
        store: this.#store,
        traffic: monitor.traffic(),
        recent: monitor.recent(),
        mirror: this.#mirror?.reading() ?? this.#mirroredBefore,
      },
    });
  }

  #measureStore(): void {
    const directory = this.#capture?.directory;
    if (directory === undefined) return;
    try {
      const { bavail, bsize } = statfsSync(directory);
      const bytes = directoryBytes(directory, fileSizesOf(directory));
      this.#store = { bytes, freeBytes: bavail * bsize };
    } catch {
      // A failing disk fails commits as well, and their errors are reported. Its size is unknown then.
      this.#store = null;
    }
  }

  /** Sends log lines to the proxy, which owns the log. */
  #logger(): Logger {
    const say = (level: keyof Logger) => (fields: object, message: string) =>
      this.#deps.say({ type: 'notice', notice: { level, message, fields: { ...fields } } });
    return { info: say('info'), warn: say('warn'), error: say('error') };
  }

  #every(ms: number, act: () => void): void {
    this.#timers.push(setInterval(act, ms));
  }
}

/** Observed traffic before the first estimate. It is extended by the same time if there was too little traffic. */
const FIRST_NS = 60e9;
/** Interval of later estimates. One is reported if it differs from the last one by more than `CHANGE`. */
const AGAIN_NS = 3_600e9;
const CHANGE = 0.2;

/** The amount stored so far, from `CaptureWriter.stored`. */
interface Stored {
  readonly exchanges: number;
  readonly bytes: number;
}

interface Mark extends Stored {
  readonly atNs: number;
}

/**
 * Observes the growth of a capture and estimates how long its disk will last. The first estimate comes after the first
 * minute with traffic, later ones each hour if they differ. If there was too little traffic, each further minute is
 * added.
 */
export class DiskEstimates {
  readonly #clock: Clock;
  readonly #maxDiskBytes: number;
  readonly #retainMs: number | null;
  #before: Mark;
  #since: Mark | null = null;
  #told: DiskEstimate | null = null;
  /** When to try again after too little traffic; null if there was none. */
  #againNs: number | null = null;

  constructor(clock: Clock, maxDiskBytes: number, retainMs: number | null) {
    this.#clock = clock;
    this.#maxDiskBytes = maxDiskBytes;
    this.#retainMs = retainMs;
    this.#before = { atNs: clock.nowNs(), exchanges: 0, bytes: 0 };
  }

  /** Call it about every second. Returns a new estimate, or null. */
  observe(stored: Stored): DiskEstimate | null {
    const now = { ...stored, atNs: this.#clock.nowNs() };
    if (this.#since === null) {
      // The first minute begins with the first exchange. Idle time before it does not count.
      if (now.exchanges > 0) this.#since = this.#before;
      else this.#before = now;
      return null;
    }
    const elapsedNs = now.atNs - this.#since.atNs;
    if (now.atNs < (this.#againNs ?? this.#since.atNs + (this.#told === null ? FIRST_NS : AGAIN_NS)))
      return null;
    const estimate = estimateDisk({
      seconds: elapsedNs / 1e9,
      exchanges: now.exchanges - this.#since.exchanges,
      storedBytes: Math.max(0, now.bytes - this.#since.bytes),
      maxDiskBytes: this.#maxDiskBytes,
      retainMs: this.#retainMs,
    });
    if (isTooLittle(estimate)) {
      const isNews = this.#againNs === null;
      this.#againNs = now.atNs + FIRST_NS;
      return isNews ? estimate : null;
    }
    this.#againNs = null;
    this.#since = now;
    if (this.#told !== null && !differs(estimate.bytesPerDay, this.#told.bytesPerDay)) return null;
    this.#told = estimate;
    return estimate;
  }
}

function differs(now: number, before: number): boolean {
  return Math.abs(now - before) > CHANGE * before;
}
