import { type ChildProcess, fork, type Serializable } from 'node:child_process';
import type { Socket } from 'node:net';
import type { LifeAccount, LossReason } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { DiskEstimate } from '../../core/disk-estimate.ts';
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { type Guard, type Logger, NoticeLimit } from '../../core/ports.ts';
import { HangWatch, readMainThread } from './hang-watch.ts';
import type { FromRecorder, RecorderBeat, ToRecorder } from './messages.ts';
import { RecorderPriority } from './priority.ts';

/** File descriptor of the recorder's byte pipe. */
export const PIPE_FD = 4;

/** How often the log repeats that a recorder is slow. */
const SLOW_NOTICE_MS = 60_000;

/** The end of a recorder that the system refused to start. */
const NOT_STARTED = 'not started';

/**
 * Keeps the debugger port closed. Otherwise any process on the same loopback interface, such as in a pod, could run
 * code in the recorder.
 */
export const NO_DEBUGGER = '--disable-sigusr1';

export type RecorderReady = Extract<FromRecorder, { type: 'ready' }>;

/**
 * Decides when a recorder that ended is started again. If it had recorded, it is started again soon. If it died before
 * its first commit, it is started later. After five such deaths in ten minutes it is only probed now and then. Each
 * start takes processor time from the traffic, and none has succeeded.
 */
export class RestartPolicy {
  readonly #clock: Clock;
  /** The times of death of recorders that had recorded nothing. */
  #barrenNs: number[] = [];
  #delayMs: number = SUPERVISION.restartDelayMs;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether restarts are given up, except for probes. */
  get off(): boolean {
    return this.#barrenNs.length >= SUPERVISION.deathsBeforeOff;
  }

  /**
   * A recorder died.
   * @param life whether it committed anything, and how long it lived
   * @returns milliseconds to wait before the next is started
   */
  died({ committed, livedMs }: { readonly committed: boolean; readonly livedMs: number }): number {
    if (livedMs >= SUPERVISION.calmMs) this.#delayMs = SUPERVISION.restartDelayMs;
    if (committed) return Math.min(this.nextDelayMs(), SUPERVISION.restartDelayWorkingMaxMs);
    const nowNs = this.#clock.nowNs();
    const sinceNs = nowNs - SUPERVISION.deathWindowMs * 1e6;
    // Once restarts are given up, only a commit takes that back, however long a probe lives.
    if (!this.off) this.#barrenNs = this.#barrenNs.filter((diedNs) => diedNs >= sinceNs);
    this.#barrenNs = [...this.#barrenNs, nowNs].slice(-SUPERVISION.deathsBeforeOff);
    return this.off ? SUPERVISION.offProbeMs : this.nextDelayMs();
  }

  /**
   * Also used if the capture cannot be opened. That is no death, but a fault of the disk or the settings that can be
   * repaired.
   */
  nextDelayMs(): number {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(delayMs * 2, SUPERVISION.restartDelayMaxMs);
    return delayMs;
  }

  /** A recorder made its first commit, or lived long without needing one. */
  survived(): void {
    this.#barrenNs = [];
  }

  /** Forgets all deaths: an operator asks for a new attempt. */
  reset(): void {
    this.#barrenNs = [];
    this.#delayMs = SUPERVISION.restartDelayMs;
  }
}

interface RecorderEvents {
  /** A process was started. `pipe` is our end of its pipe. */
  spawned(pipe: Socket): void;
  ready(message: RecorderReady): void;
  beat(beat: RecorderBeat): void;
  estimated(estimate: DiskEstimate): void;
  /** It began this segment. */
  begun(file: string): void;
  fault(message: string, hint: string | null): void;
  died(death: RecorderDeath): void;
}

export interface RecorderDeath {
  readonly how: string;
  /** It was not killed from outside. */
  readonly ofItself: boolean;
  /** It noted what it was working on. */
  readonly keepsWorkMark: boolean;
}

interface RecorderSupervisorDeps<Settings> {
  readonly entry: string;
  /** Settings for the recorder process; opaque here. */
  readonly settings: Settings;
  readonly accountOf: () => LifeAccount;
  /** Limits of its heap and of its resident memory. A recorder with more resident memory is killed. */
  readonly memory: { readonly recorderHeapMib: number; readonly recorderBytes: number };
  /** The niceness that it gets, and whether no other program uses our share of the processors. */
  readonly priority: { readonly niceness: number; readonly isAlone: boolean };
  readonly queueFill: () => number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly guard: Guard;
  readonly events: RecorderEvents;
}

interface RunningRecorder {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  readonly hangs: HangWatch;
  readonly priority: RecorderPriority | null;
  /** When it reported that it records; null before that. */
  readyNs: number | null;
  faulted: boolean;
  committed: boolean;
  /** We killed it because it hung or used too much memory. */
  condemned: boolean;
  /** It was asked to end, and its capture is closed. */
  closed: boolean;
}

/**
 * Keeps one recorder alive: starts it, watches its heartbeat and its memory, and starts it again after a pause if it
 * died. Failures are reported as events and never thrown.
 */
export class RecorderSupervisor<Settings> {
  readonly #deps: RecorderSupervisorDeps<Settings>;
  readonly #policy: RestartPolicy;
  readonly #slowNotice: NoticeLimit;
  #running: RunningRecorder | null = null;
  #lastBeat: RecorderBeat | null = null;
  #keepsWorkMark = false;
  #wanted = true;
  #onClosed: () => void = () => undefined;
  #restart: NodeJS.Timeout | null = null;
  #watch: NodeJS.Timeout | null = null;
  #watchedNs = 0;
  #starts = 0;
  #hurried = false;

  constructor(deps: RecorderSupervisorDeps<Settings>) {
    this.#deps = deps;
    this.#policy = new RestartPolicy(deps.clock);
    this.#slowNotice = new NoticeLimit(deps.clock, SLOW_NOTICE_MS);
  }

  /** Process id of the running recorder; null if none runs that may record. */
  get pid(): number | null {
    return this.#running === null || this.#running.closed ? null : (this.#running.child.pid ?? null);
  }

  /** The last beat of the running recorder, or of the one before it; null before the first beat. */
  get lastBeat(): RecorderBeat | null {
    return this.#lastBeat;
  }

  get ready(): boolean {
    return this.#running !== null && this.#running.readyNs !== null;
  }

  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** Whether it died so often that it is only probed now and then. */
  get givenUp(): boolean {
    return this.#policy.off;
  }

  start(): void {
    this.#wanted = true;
    this.#hurried = false;
    this.#watchedNs = this.#deps.clock.nowNs();
    this.#watch ??= this.#deps.guard.every(SUPERVISION.heartbeatMs, () => this.#look());
    this.#spawn();
  }

  /**
   * The caller waits until everything queued is recorded. So the recorder has the priority of the traffic from now on.
   */
  hurry(): void {
    this.#hurried = true;
    this.#running?.priority?.follow(1, 0);
  }

  tellAccount(): void {
    if (this.ready) this.#say({ type: 'account', account: this.#deps.accountOf() });
  }

  /**
   * Makes the recorder commit, close the capture and seal it. It is killed if this takes too long. No other is started
   * until `start`.
   * @param ships whether sealed segments go to the command of `--on-seal` before it ends
   */
  async stop(because: LossReason, ships: boolean): Promise<void> {
    this.#wanted = false;
    this.hurry();
    this.#policy.reset();
    if (this.#restart) clearTimeout(this.#restart);
    this.#restart = null;
    if (this.#watch) clearInterval(this.#watch);
    this.#watch = null;
    const running = this.#running;
    if (!running) return;
    this.#say({ type: 'stop', account: this.#deps.accountOf(), because, ships });
    const { guard } = this.#deps;
    let timer = guard.after(SUPERVISION.recorderStopMs, () => running.child.kill('SIGKILL'));
    this.#onClosed = () => {
      clearTimeout(timer);
      const restMs = SUPERVISION.sealMs + (ships ? SUPERVISION.sealHookMs : 0) + 2 * SUPERVISION.lingerMs;
      timer = guard.after(restMs, () => running.child.kill('SIGKILL'));
    };
    await running.ended;
    clearTimeout(timer);
  }

  /** The recording of this process has failed. The recorder is killed, and another is started as after a death. */
  abandon(): void {
    this.#running?.child.kill('SIGKILL');
  }

  #spawn(): void {
    this.#starts += 1;
    const child = this.#fork();
    if (child === null) return;
    try {
      this.#supervise(child);
    } catch (error) {
      // A recorder that nobody supervises would keep the capture locked.
      this.#running = null;
      child.kill('SIGKILL');
      throw error;
    }
  }

  #supervise(child: ChildProcess): void {
    const { settings, accountOf, clock, priority, guard } = this.#deps;
    const ended = new Promise<string>((resolve) => {
      guard.listen(child, 'exit', (code: number | null, signal: string | null) =>
        resolve(signal ?? `exit ${code}`),
      );
      // A process that could not be started has no exit; this is its end.
      guard.listen(child, 'error', (error: Error) => {
        this.#deps.logger.error({ reason: reasonOf(error) }, 'system refuses to start or end the recorder');
        if (child.pid === undefined) resolve(NOT_STARTED);
      });
    });
    const running: RunningRecorder = {
      child,
      ended: ended.then(() => undefined),
      hangs: new HangWatch(() => (child.pid === undefined ? null : readMainThread(child.pid)), clock.nowNs()),
      priority:
        child.pid === undefined ? null : new RecorderPriority(child.pid, priority.niceness, priority.isAlone),
      readyNs: null,
      faulted: false,
      committed: false,
      condemned: false,
      closed: false,
    };
    this.#running = running;
    guard.listen(child, 'message', (message: unknown) => {
      running.hangs.heard(clock.nowNs());
      this.#hear(running, message as FromRecorder);
    });
    guard.start(async () => this.#onEnded(running, await ended));
    const pipe = child.stdio[PIPE_FD] as Socket | null | undefined;
    if (pipe) this.#deps.events.spawned(pipe);
    const earlier = this.#lastBeat;
    this.#say({ type: 'start', settings, keepsWorkMark: this.#keepsWorkMark, account: accountOf(), earlier });
  }

  /** Null if the system refuses at once, perhaps for lack of memory. That stops the recording but never the traffic. */
  #fork(): ChildProcess | null {
    const { entry, memory, logger, guard } = this.#deps;
    try {
      return fork(entry, {
        execArgv: [...process.execArgv, NO_DEBUGGER, ...heapFlags(memory.recorderHeapMib)],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc', 'pipe'],
      });
    } catch (error) {
      logger.error({ reason: reasonOf(error) }, 'system refuses to start or end the recorder');
      // Like a refusal that comes later, it is reported after the caller is done.
      guard.next(() => {
        if (this.#wanted) this.#onDied(NOT_STARTED, { committed: false, livedMs: 0 }, false);
      });
      return null;
    }
  }

  /** A recorder that has ended receives nothing; its end is reported anyway. */
  #say(message: ToRecorder<Settings>): void {
    const child = this.#running?.child;
    if (child?.connected) child.send(message as Serializable, () => undefined);
  }

  #hear(running: RunningRecorder, message: FromRecorder): void {
    const { events, logger, clock } = this.#deps;
    if (message.type === 'ready') {
      running.readyNs = clock.nowNs();
      // Logged only now. If the capture cannot be opened, a recorder is started every few seconds, perhaps for weeks.
      logger.info({ pid: running.child.pid }, 'recorder started');
      events.ready(message);
    } else if (message.type === 'fault') {
      running.faulted = true;
      events.fault(message.message, message.hint);
    } else if (message.type === 'estimate') events.estimated(message.estimate);
    else if (message.type === 'segment') events.begun(message.file);
    else if (message.type === 'notice')
      logger[message.notice.level](message.notice.fields, message.notice.message);
    else if (message.type === 'committed') {
      running.committed = true;
      this.#policy.survived();
    } else if (message.type === 'closed') {
      running.closed = true;
      this.#onClosed();
    } else this.#judge(running, message.beat);
  }

  #judge(running: RunningRecorder, beat: RecorderBeat): void {
    this.#lastBeat = beat;
    if (this.#livedMs(running) > SUPERVISION.offProbeMs) this.#policy.survived();
    this.#deps.events.beat(beat);
    if (beat.rssBytes <= this.#deps.memory.recorderBytes) return;
    this.#deps.logger.error({ rssBytes: beat.rssBytes }, 'recorder uses too much memory; killing it');
    condemn(running);
  }

  #onEnded(running: RunningRecorder, how: string): void {
    if (this.#running !== running) return;
    this.#running = null;
    if (!this.#wanted) return;
    if (running.faulted) {
      this.#restartAfter(this.#policy.nextDelayMs());
      return;
    }
    const life = { committed: running.committed, livedMs: this.#livedMs(running) };
    this.#onDied(how, life, running.condemned || (how !== 'SIGKILL' && how !== NOT_STARTED));
  }

  #onDied(
    how: string,
    life: { readonly committed: boolean; readonly livedMs: number },
    ofItself: boolean,
  ): void {
    const delayMs = this.#policy.died(life);
    const keepsWorkMark = this.#keepsWorkMark;
    // The successor of a crashed recorder notes what it works on, because that may be the cause of the crash.
    this.#keepsWorkMark = ofItself;
    this.#deps.events.died({ how, ofItself, keepsWorkMark });
    this.#restartAfter(delayMs);
  }

  #restartAfter(delayMs: number): void {
    this.#restart = this.#deps.guard.after(delayMs, () => {
      this.#restart = null;
      this.#spawn();
    });
  }

  /** A recorder that hangs, in a native call perhaps, can only be killed. One that waits is left alone. */
  #look(): void {
    const running = this.#running;
    const nowNs = this.#deps.clock.nowNs();
    const sinceNs = nowNs - this.#watchedNs;
    this.#watchedNs = nowNs;
    if (!running) {
      // An exception kept its end from being handled.
      if (this.#restart === null) this.#restartAfter(this.#policy.nextDelayMs());
      return;
    }
    // This process did not run (in a paused container, say). Messages may lie unread, if the recorder ran at all.
    if (sinceNs > 2 * SUPERVISION.heartbeatMs * 1e6) running.hangs.heard(nowNs);
    const { hung, ...silence } = running.hangs.look(nowNs, running.readyNs === null);
    const fill = this.#hurried ? 1 : this.#deps.queueFill();
    if (running.readyNs !== null) running.priority?.follow(fill, silence.silentMs);
    if (hung) {
      this.#deps.logger.error(silence, 'recorder hangs; killing it');
      running.hangs.heard(nowNs);
      condemn(running);
    } else if (silence.silentMs >= SUPERVISION.slowRecorderMs && this.#slowNotice.passes()) {
      const awaited = silence.state === 'runnable' ? 'a processor' : 'its disk';
      this.#deps.logger.warn(silence, `recorder is slow: it waits for ${awaited}`);
    }
  }

  #livedMs({ readyNs }: RunningRecorder): number {
    return readyNs === null ? 0 : (this.#deps.clock.nowNs() - readyNs) / 1e6;
  }
}

/**
 * The young generation has three semi-spaces, and is limited too. Each thread collects its own garbage: V8's four
 * helper threads can occupy every processor of a small host for milliseconds, and nothing is forwarded meanwhile.
 */
export function heapFlags(heapMib: number): string[] {
  return [
    '--single-threaded-gc',
    `--max-old-space-size=${heapMib}`,
    `--max-semi-space-size=${Math.floor(heapMib / 8)}`,
  ];
}

function condemn(running: RunningRecorder): void {
  running.condemned = true;
  running.child.kill('SIGKILL');
}
