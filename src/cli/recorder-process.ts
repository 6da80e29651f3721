import { existsSync, statfsSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Loss, LossReason } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { SUPERVISION } from '../core/limits.ts';
import { LedgerFile } from '../proxy/ledger-file.ts';
import type { FromRecorder, RecorderBeat, StoreReading, ToRecorder } from '../proxy/messages.ts';
import { directoryBytes, fileSizesOf } from '../storage/directory-size.ts';
import { DiskEstimates } from './disk-estimates.ts';
import { openRecording, type RecorderSettings, type Recording } from './recording.ts';

/** How often the recorder looks whether a commit is due, ms. */
const TICK_MS = 25;
/** How often the wall clock is paired with the monotonic one, ms. */
const ANCHOR_MS = 60_000;
/** How often the files of the capture are counted, ms. */
const STORE_MS = 10_000;

/** A pipe that this process was started with, by its place; null: the one that came with the message, if it came. */
export type PipeAt = (slot: number | null) => Socket | undefined;

export interface RecorderProcessDeps {
  readonly clock: Clock;
  readonly say: (message: FromRecorder) => void;
  readonly onEnd: () => void;
}

/**
 * A recorder as the supervisor talks to it. Without a supervisor it goes on until its forwarders are gone, so
 * that what they still carry is kept.
 */
export class RecorderProcess {
  readonly #deps: RecorderProcessDeps;
  readonly #timers: NodeJS.Timeout[] = [];
  #recording: Recording | null = null;
  #pipes = 0;
  /** So many of each place so far. */
  readonly #pipesOf = new Map<number, number>();
  #orphaned = false;
  #heardLosses = 0;
  #store: StoreReading | null = null;
  /** How much the last beat called unwritten. */
  #toldUnwritten = 0;
  #housekeepingError: string | null = null;

  constructor(deps: RecorderProcessDeps) {
    this.#deps = deps;
  }

  hear(message: ToRecorder<RecorderSettings>, pipeAt: PipeAt): void {
    if (message.type === 'start') this.#start(message, pipeAt);
    else if (message.type === 'forwarder') this.#attach(pipeAt(null), message.slot);
    else if (message.type === 'losses') {
      this.#heardLosses = message.number;
      this.#recording?.recorder.noteLosses(message.losses);
    } else this.#stop(message.losses, message.because);
  }

  orphaned(): void {
    this.#orphaned = true;
    if (this.#pipes === 0) this.#stop([], 'crash_gap');
  }

  #start(message: Extract<ToRecorder<RecorderSettings>, { type: 'start' }>, pipeAt: PipeAt): void {
    const { clock, say } = this.#deps;
    try {
      this.#recording = openRecording(message.settings, {
        clock,
        onFinished: (file) => say({ type: 'finished', file }),
        life: message.life,
        watchful: message.watchful,
        onFirstCommit: () => say({ type: 'committed' }),
      });
    } catch (error) {
      const hint = error instanceof AppError ? error.hint : null;
      say({ type: 'fault', message: reasonOf(error), hint });
      this.#deps.onEnd();
      return;
    }
    const { recorder, writer, epoch, mark, directory, maxDiskBytes, unsealed, committed } = this.#recording;
    say({ type: 'ready', directory, maxDiskBytes, unsealed, committed });
    for (const { message: text, ...fields } of this.#recording.keyChanges) {
      say({ type: 'notice', notice: { level: 'warn', message: text, fields } });
    }
    for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
    this.#every(TICK_MS, () => {
      recorder.commitIfDue();
      this.#tellNews();
    });
    this.#every(ANCHOR_MS, () => {
      epoch.anchor(clock.anchor(), ANCHOR_MS * 1e6);
      for (const anchor of epoch.takeAnchors()) writer.addAnchor(anchor);
      this.#housekept(writer.housekeep().error);
    });
    setTimeout(() => mark?.retire(), SUPERVISION.deathWindowMs).unref();
    this.#every(STORE_MS, () => this.#measureStore());
    const estimates = new DiskEstimates(clock, maxDiskBytes, message.settings.retainMs);
    this.#every(SUPERVISION.heartbeatMs, () => {
      if (!existsSync(directory)) this.#giveUp(directory);
      this.#tell();
      const estimate = estimates.observe(writer.stored);
      if (estimate !== null) say({ type: 'estimate', estimate });
    });
    for (let slot = 0; slot < message.pipes; slot += 1) this.#attach(pipeAt(slot), slot);
    this.#measureStore();
    this.#tell();
  }

  /**
   * Its directory was taken away. What is written from now on goes into files that nobody will ever find; the next
   * recorder makes the directory anew.
   */
  #giveUp(directory: string): void {
    this.#recording = null;
    this.#deps.say({
      type: 'fault',
      message: `${directory} is gone`,
      hint: 'It is made anew. To keep a recording from growing use --max-disk and --retain.',
    });
    this.#deps.onEnd();
  }

  /** One line for an error that stays the same: this is tried again every minute. */
  #housekept(error: string | null): void {
    if (error !== null && error !== this.#housekeepingError) {
      const fields = { reason: error };
      this.#deps.say({
        type: 'notice',
        notice: { level: 'error', message: 'housekeeping of the capture failed', fields },
      });
    }
    this.#housekeepingError = error;
  }

  #attach(pipe: Socket | undefined, slot: number): void {
    const ordinal = this.#pipesOf.get(slot) ?? 0;
    this.#pipesOf.set(slot, ordinal + 1);
    if (!pipe || !this.#recording) {
      pipe?.destroy();
      return;
    }
    this.#pipes += 1;
    this.#recording.recorder.attach(pipe, slot, (heard) =>
      this.#deps.say({ type: 'feed-ended', slot, ordinal, heard }),
    );
    pipe.on('close', () => {
      this.#pipes -= 1;
      if (this.#orphaned && this.#pipes === 0) this.#stop([], 'crash_gap');
    });
  }

  #stop(losses: readonly Loss[], because: LossReason): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    const recording = this.#recording;
    this.#recording = null;
    if (recording) {
      for (const loss of losses) recording.writer.addLoss(loss);
      recording.close(because);
    }
    const unwritten = recording?.writer.unwrittenLosses ?? losses;
    this.#deps.say({ type: 'stopped', unwritten });
    if (!this.#orphaned || !recording) this.#deps.onEnd();
    else void this.#settleLedger(recording, unwritten).finally(() => this.#deps.onEnd());
  }

  /**
   * Nobody is left to say how it ended. Where all forwarders ended in good order and all is written, the account
   * that the supervisor left behind owes nothing; else the next recording tells of what it owes.
   */
  async #settleLedger({ directory, recorder }: Recording, unwritten: readonly Loss[]): Promise<void> {
    if (recorder.abandoned > 0 || unwritten.length > 0) return;
    try {
      const ledger = await LedgerFile.open(directory);
      await ledger.settleOthers('');
      await ledger.close();
    } catch {
      // Unsettled, it is told of twice: once by us in the capture, once by whoever comes next.
    }
  }

  /**
   * What the supervisor must know in case this process dies the next moment: which losses the capture does not
   * hold yet.
   */
  #tellNews(): void {
    if (!this.#recording) return;
    const { writer } = this.#recording;
    const unwritten = writer.unwrittenLosses.reduce((sum, loss) => sum + loss.bytes + loss.exchanges, 0);
    if (unwritten !== this.#toldUnwritten) this.#tell();
    this.#toldUnwritten = unwritten;
  }

  #tell(): void {
    if (!this.#recording) return;
    const { recorder, writer, monitor, budget } = this.#recording;
    const beat: RecorderBeat = {
      rssBytes: process.memoryUsage.rss(),
      shedding: recorder.shedding,
      heardLosses: this.#heardLosses,
      unwritten: writer.unwrittenLosses,
      bodiesCut: budget.refusals,
      store: this.#store,
      traffic: monitor.traffic(),
      recent: monitor.recent(),
    };
    this.#deps.say({ type: 'beat', beat });
  }

  #measureStore(): void {
    const directory = this.#recording?.directory;
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

  #every(ms: number, act: () => void): void {
    this.#timers.push(setInterval(act, ms));
  }
}
