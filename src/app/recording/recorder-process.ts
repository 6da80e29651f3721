import { existsSync, statfsSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { LifeAccount, LossReason } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import type { FromRecorder, RecorderOrder, StoreReading, ToRecorder } from '../../proxy/control/messages.ts';
import { leaveAccount } from '../../storage/capture/account-keeper.ts';
import { directoryBytes, fileSizesOf } from '../../storage/capture/directory.ts';
import { type OpenCapture, openCapture, type RecorderSettings } from './capture.ts';
import { DiskEstimates } from './disk-forecast.ts';
import type { RetryQueue } from './retry-queue.ts';
import { SealHook } from './seal-hook.ts';
import { sealerThread, sealingQueue } from './sealing.ts';

/** How often the recorder looks whether a commit is due, ms. */
const TICK_MS = 25;
/** How often the wall clock is paired with the monotonic one, ms. */
const ANCHOR_MS = 60_000;
/** How often the files of the capture are counted, ms. */
const STORE_MS = 10_000;

interface RecorderProcessDeps {
  readonly clock: Clock;
  readonly sealerEntry: URL;
  /** Our end of the pipe to the proxy. */
  readonly pipe: () => Socket;
  readonly say: (message: FromRecorder) => void;
  readonly onEnd: () => void;
}

/** A recorder as its proxy talks to it. Without the proxy it keeps what came through the pipe, and ends. */
export class RecorderProcess {
  readonly #deps: RecorderProcessDeps;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #sealer: RetryQueue;
  #hook: SealHook | null = null;
  #capture: OpenCapture | null = null;
  #pipe: Socket | null = null;
  #store: StoreReading | null = null;
  #housekeepingError: string | null = null;
  /** Of the recording, as it was when this recorder was started. */
  #account: LifeAccount | null = null;
  #bodiesCutBefore = 0;

  constructor(deps: RecorderProcessDeps) {
    this.#deps = deps;
    const logger = this.#logger();
    const attempt = sealerThread(deps.sealerEntry);
    this.#sealer = sealingQueue({ logger, attempt, onSealed: (file) => this.#hook?.handOver(file) });
  }

  hear(message: ToRecorder<RecorderSettings>): void {
    if (message.type === 'start') this.#start(message);
    else if (message.type === 'account') this.#write(message.account);
    else void this.#stop(message);
  }

  /** The proxy was killed: its end of the pipe is closed, and what came through it is read to its end. */
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
    try {
      this.#capture = openCapture(message, {
        clock,
        onFinished: (file) => void this.#sealer.add([file]),
        onFirstCommit: () => say({ type: 'committed' }),
      });
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      say({ type: 'fault', message: reasonOf(error), hint });
      this.#deps.onEnd();
      return;
    }
    const { recorder, writer, epoch, mark, directory, maxDiskBytes, unsealed, progress } = this.#capture;
    say({ type: 'ready', directory, maxDiskBytes, progress });
    const logger = this.#logger();
    for (const { message: text, ...fields } of this.#capture.keyChanges) logger.warn(fields, text);
    if (settings.onSeal !== null) this.#hook = new SealHook({ command: settings.onSeal, logger });
    void this.#hook?.resume(directory);
    void this.#sealer.add(unsealed);
    for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
    this.#every(TICK_MS, () => recorder.commitIfDue());
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
  }

  /** Losses are written within the second, so that what little a killed recording leaves unwritten is in its file. */
  #write(account: LifeAccount): void {
    const capture = this.#capture;
    if (!capture) return;
    capture.writer.setAccount(account);
    if (capture.grew(account)) capture.recorder.commit();
  }

  /**
   * Its directory was taken away. What is written from now on goes into files that nobody will ever find; the next
   * recorder makes the directory anew.
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

  /** One line for an error that stays the same: this is tried again every minute. */
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
      // A disk that cannot be asked fails commits as well, and those say why; its size is not known then.
      this.#store = null;
    }
  }

  /** The log is the proxy's. */
  #logger(): Logger {
    const say = (level: keyof Logger) => (fields: object, message: string) =>
      this.#deps.say({ type: 'notice', notice: { level, message, fields: { ...fields } } });
    return { info: say('info'), warn: say('warn'), error: say('error') };
  }

  #every(ms: number, act: () => void): void {
    this.#timers.push(setInterval(act, ms));
  }
}
