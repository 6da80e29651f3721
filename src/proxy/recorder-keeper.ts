import type { Loss, LossReason } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import type { DiskEstimate } from '../core/disk-estimate.ts';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import { COLLECTING_ALONE, endText, ManagedProcess, type ProcessEnd } from './managed-process.ts';
import type { FeedEnd, FromRecorder, RecorderBeat, ToRecorder } from './messages.ts';
import { RestartPolicy } from './restart-policy.ts';

export type RecorderChild<Settings> = ManagedProcess<FromRecorder, ToRecorder<Settings>>;
export type RecorderReady = Extract<FromRecorder, { type: 'ready' }>;

/** What a recorder's keeper tells the one it keeps it for. */
interface RecorderEvents<Settings> {
  /** A process begins, its pipes not yet given away. */
  spawned(recorder: RecorderChild<Settings>): void;
  ready(message: RecorderReady): void;
  beat(beat: RecorderBeat): void;
  finished(file: string): void;
  /** It came to the end of a forwarder's pipe. */
  feedEnded(end: FeedEnd): void;
  estimated(estimate: DiskEstimate): void;
  /** Its capture cannot be had. */
  fault(message: string, hint: string | null): void;
  /**
   * It ended, whatever ended it. Where it was told to, it says that it has written all losses but these; null: what
   * it was told and had not written is owed again.
   */
  gone(unwritten: readonly Loss[] | null): void;
  died(death: RecorderDeath): void;
}

export interface RecorderDeath {
  readonly how: string;
  /** Not killed from outside. */
  readonly ofItself: boolean;
  /** It left word of what it was working at. */
  readonly watchful: boolean;
}

interface RecorderKeeperDeps<Settings> {
  readonly entry: string;
  readonly settings: Settings;
  /** What the recording goes by in its ledger. */
  readonly lifeOf: () => string;
  /** One for each forwarder. */
  readonly pipes: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: RecorderEvents<Settings>;
}

/** The traffic comes first wherever both want the processor. */
const RECORDER_NICENESS = 10;

/**
 * Keeps one recorder alive: starts it, watches its heartbeat and its memory, and starts it again after a pause
 * when it died. What became of it is told, and never raised.
 */
export class RecorderKeeper<Settings> {
  readonly #deps: RecorderKeeperDeps<Settings>;
  readonly #policy: RestartPolicy;
  #process: RecorderChild<Settings> | null = null;
  #lastBeat: RecorderBeat | null = null;
  /** When the running one said it was ready. */
  #readyNs: number | null = null;
  #faulted = false;
  #committed = false;
  /** We killed it, because it hung or held too much. */
  #condemned = false;
  #stopped: readonly Loss[] | null = null;
  #watchful = false;
  #wanted = true;
  /** The capture is to be had: until then one that is started again waits as the first one did. */
  #opens = false;
  #restart: NodeJS.Timeout | null = null;
  #watch: NodeJS.Timeout | null = null;
  #watchedNs = 0;
  #starts = 0;

  constructor(deps: RecorderKeeperDeps<Settings>) {
    this.#deps = deps;
    this.#policy = new RestartPolicy(deps.clock);
  }

  /** The running one; null while none runs. */
  get process(): RecorderChild<Settings> | null {
    return this.#process;
  }

  /** Its last words; null before the first and once it is gone. */
  get lastBeat(): RecorderBeat | null {
    return this.#lastBeat;
  }

  /** Recording. */
  get ready(): boolean {
    return this.#readyNs !== null;
  }

  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** Whether it died so often that it is only probed now and then. */
  get givenUp(): boolean {
    return this.#policy.off;
  }

  /** The pipes are there at once; the capture is opened by `open`. */
  spawn(): void {
    this.#wanted = true;
    const { entry, pipes, clock } = this.#deps;
    const recorder: RecorderChild<Settings> = new ManagedProcess(
      {
        entry,
        execArgv: [
          `--max-old-space-size=${LIMITS.recorderHeapMib}`,
          `--max-semi-space-size=${LIMITS.recorderSemiSpaceMib}`,
          COLLECTING_ALONE,
        ],
        niceness: RECORDER_NICENESS,
        pipes,
      },
      clock,
      (message: FromRecorder) => this.#hear(recorder, message),
    );
    this.#process = recorder;
    this.#starts += 1;
    this.#faulted = false;
    this.#committed = false;
    this.#condemned = false;
    this.#stopped = null;
    this.#deps.events.spawned(recorder);
    void recorder.ended.then((end) => this.#onEnded(end));
  }

  open(): void {
    this.#opens = true;
    const { settings, pipes, clock, lifeOf } = this.#deps;
    this.#process?.send({ type: 'start', settings, pipes, watchful: this.#watchful, life: lifeOf() });
    this.#watchedNs = clock.nowNs();
    this.#watch ??= setInterval(() => this.#look(), SUPERVISION.heartbeatMs);
  }

  /** Commits and closes the capture; no other is started until `spawn`. Killed when it takes too long. */
  async stop(losses: readonly Loss[], because: LossReason): Promise<void> {
    this.#unwant();
    this.#policy.reset();
    const recorder = this.#process;
    if (!recorder) return;
    recorder.send({ type: 'stop', losses, because });
    const timer = setTimeout(() => recorder.kill(), SUPERVISION.recorderStopMs);
    await recorder.ended;
    clearTimeout(timer);
  }

  /** Ends it the hard way; the start of the recording has failed. */
  async abort(): Promise<void> {
    this.#unwant();
    this.#process?.kill();
    await this.#process?.ended;
  }

  /** Not only the running one: one that is about to be started again would outlive whoever wants none. */
  #unwant(): void {
    this.#wanted = false;
    this.#opens = false;
    if (this.#restart) clearTimeout(this.#restart);
    this.#restart = null;
    if (this.#watch) clearInterval(this.#watch);
    this.#watch = null;
  }

  #hear(recorder: RecorderChild<Settings>, message: FromRecorder): void {
    const { events, logger } = this.#deps;
    if (message.type === 'ready') {
      this.#readyNs = this.#deps.clock.nowNs();
      // Said now and not before: one whose capture cannot be had is tried every few seconds, for weeks perhaps.
      logger.info({ pid: recorder.pid }, 'recorder started');
      events.ready(message);
    } else if (message.type === 'fault') {
      this.#faulted = true;
      events.fault(message.message, message.hint);
    } else if (message.type === 'finished') events.finished(message.file);
    else if (message.type === 'feed-ended') events.feedEnded(message);
    else if (message.type === 'estimate') events.estimated(message.estimate);
    else if (message.type === 'notice')
      logger[message.notice.level](message.notice.fields, message.notice.message);
    else if (message.type === 'committed') {
      this.#committed = true;
      this.#policy.survived();
    } else if (message.type === 'stopped') this.#stopped = message.unwritten;
    else if (message.type === 'beat') this.#judge(recorder, message.beat);
  }

  #judge(recorder: RecorderChild<Settings>, beat: RecorderBeat): void {
    this.#lastBeat = beat;
    if (this.#livedMs() > SUPERVISION.offProbeMs) this.#policy.survived();
    this.#deps.events.beat(beat);
    if (beat.rssBytes <= LIMITS.recorderResidentBytes) return;
    this.#deps.logger.error({ rssBytes: beat.rssBytes }, 'recorder holds too much memory; killing it');
    this.#condemn(recorder);
  }

  #onEnded(end: ProcessEnd): void {
    const { events } = this.#deps;
    const life = { committed: this.#committed, livedMs: this.#livedMs() };
    this.#process = null;
    this.#lastBeat = null;
    this.#readyNs = null;
    events.gone(this.#stopped);
    if (!this.#wanted) return;
    const delayMs = this.#faulted ? this.#policy.faulted() : this.#policy.died(life);
    if (!this.#faulted) {
      const watchful = this.#watchful;
      const ofItself = this.#condemned || end.signal !== 'SIGKILL';
      // Whoever follows one that died of itself leaves word of what it works at: that may be what kills it.
      this.#watchful = ofItself;
      events.died({ how: endText(end), ofItself, watchful });
    }
    this.#restart = setTimeout(() => {
      this.#restart = null;
      this.spawn();
      if (this.#opens) this.open();
    }, delayMs);
  }

  /** A recorder that says nothing hangs, in a native call perhaps; only killing it helps. */
  #look(): void {
    const recorder = this.#process;
    const nowNs = this.#deps.clock.nowNs();
    const sinceNs = nowNs - this.#watchedNs;
    this.#watchedNs = nowNs;
    // We did not run ourselves (a paused container, say): what it said meanwhile lies unread, if it ran at all.
    if (recorder && sinceNs > 2 * SUPERVISION.heartbeatMs * 1e6) recorder.lastWordNs = nowNs;
    // At the lowest priority of a busy host a start takes its time, and is no hang.
    const limitMs = this.ready ? SUPERVISION.heartbeatLimitMs : SUPERVISION.startLimitMs;
    if (!recorder || recorder.silenceNs() < limitMs * 1e6) return;
    const silentMs = Math.round(recorder.silenceNs() / 1e6);
    this.#deps.logger.error({ silentMs }, 'recorder hangs; killing it');
    recorder.lastWordNs = nowNs;
    this.#condemn(recorder);
  }

  #livedMs(): number {
    return this.#readyNs === null ? 0 : (this.#deps.clock.nowNs() - this.#readyNs) / 1e6;
  }

  #condemn(recorder: RecorderChild<Settings>): void {
    this.#condemned = true;
    recorder.kill();
  }
}
