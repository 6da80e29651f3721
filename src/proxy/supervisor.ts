import type { LossReason } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import type { Logger } from '../core/ports.ts';
import type { Endpoint } from './endpoint.ts';
import type { LedgerReading } from './ledger.ts';
import { LedgerHistory } from './ledger-history.ts';
import { ManagedProcess } from './managed-process.ts';
import type { FromForwarder, FromRecorder, ToForwarder, ToRecorder } from './messages.ts';
import type { WireOptions } from './wire/options.ts';

/** HEALTHY: recorded. SHEDDING: traffic flows, some is lost and counted. OFF: traffic flows, nothing is recorded. */
export type RecordingState = 'HEALTHY' | 'SHEDDING' | 'OFF';

export interface SupervisorDeps<Settings> {
  readonly forwarderEntry: string;
  readonly recorderEntry: string;
  readonly forwarder: WireOptions;
  /** What the recorder process is started with; opaque here. */
  readonly recorder: Settings;
  /** Seals finished segments in a process of its own. */
  readonly seal: (files: readonly string[]) => Promise<void>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** How a recording ended. */
export interface RecordingEnd {
  readonly ledger: LedgerReading | null;
  readonly cut: number;
  readonly turnedAway: number;
}

/** The traffic comes first wherever both want the processor. */
const RECORDER_NICENESS = 10;

type ForwarderProcess = ManagedProcess<FromForwarder, ToForwarder>;
type RecorderProcess<Settings> = ManagedProcess<FromRecorder, ToRecorder<Settings>>;

/**
 * Keeps a forwarder and a recorder alive and knows how both fare. It touches no traffic: either process may die,
 * hang or be killed, and the other goes on.
 */
export class Supervisor<Settings> {
  readonly #deps: SupervisorDeps<Settings>;
  #forwarder: ForwarderProcess | null = null;
  #recorder: RecorderProcess<Settings> | null = null;
  /** Null until the first recorder said how it fares. */
  #state: RecordingState | null = null;
  readonly #ledgers = new LedgerHistory();
  #restartDelayMs: number = SUPERVISION.restartDelayMs;
  #watch: NodeJS.Timeout | null = null;
  #watchedNs = 0;
  #stopping = false;
  #onDrained: ((end: Extract<FromForwarder, { type: 'drained' }>) => void) | null = null;
  /** Kept after the first start: a forwarder that is started again binds the very same ports. */
  #forwarderOptions: WireOptions;
  readonly #sealing = new Set<Promise<void>>();

  constructor(deps: SupervisorDeps<Settings>) {
    this.#deps = deps;
    this.#forwarderOptions = deps.forwarder;
  }

  get state(): RecordingState | null {
    return this.#state;
  }

  /** The account of all forwarders so far, the running one's as of its last beat. */
  get ledger(): LedgerReading | null {
    return this.#ledgers.read();
  }

  /**
   * Starts both processes. Only a listen address that cannot be had is an error; a recorder that cannot start is
   * a loud line and state OFF.
   * @returns the addresses that were bound
   * @throws AppError LISTEN_FAILED
   */
  async start(): Promise<readonly Endpoint[]> {
    // The recorder's pipe is there before the first connection, its capture only once the address is ours.
    const recorder = this.#spawnRecorder();
    const addresses = await this.#startForwarder().catch(async (error: unknown) => {
      this.#stopping = true;
      recorder.kill();
      await recorder.ended;
      throw error;
    });
    this.#openCapture(recorder);
    this.#forwarderOptions = boundTo(this.#forwarderOptions, addresses);
    this.#watchedNs = this.#deps.clock.nowNs();
    this.#watch = setInterval(() => this.#watchRecorder(), SUPERVISION.heartbeatMs);
    return addresses;
  }

  /** Drains, flushes and seals. Ends when nothing of it is left running. */
  async stop(deadlineMs: number): Promise<RecordingEnd> {
    this.#stopping = true;
    const drained = await this.#drainForwarder(deadlineMs);
    if (this.#watch) clearInterval(this.#watch);
    const recorder = this.#recorder;
    if (recorder) {
      recorder.send({ type: 'stop', losses: drained?.losses ?? [] });
      const timer = setTimeout(() => recorder.kill(), SUPERVISION.recorderStopMs);
      await recorder.ended;
      clearTimeout(timer);
    }
    await Promise.all(this.#sealing);
    return {
      ledger: this.ledger,
      cut: drained?.cut ?? 0,
      turnedAway: drained?.turnedAway ?? 0,
    };
  }

  /** Cuts short what a drain still waits for. */
  hurry(): void {
    this.#forwarder?.send({ type: 'hurry' });
  }

  async #drainForwarder(deadlineMs: number): Promise<Extract<FromForwarder, { type: 'drained' }> | null> {
    const forwarder = this.#forwarder;
    if (!forwarder) return null;
    const drained = new Promise<Extract<FromForwarder, { type: 'drained' }>>((resolve) => {
      this.#onDrained = resolve;
    });
    forwarder.send({ type: 'drain', deadlineMs });
    const patienceMs = deadlineMs + SUPERVISION.flushMs + SUPERVISION.heartbeatLimitMs;
    const timer = setTimeout(() => {
      this.#deps.logger.error({ patienceMs }, 'forwarder does not end; killing it');
      forwarder.kill();
    }, patienceMs);
    const end = await Promise.race([drained, forwarder.ended.then(() => null)]);
    await forwarder.ended;
    clearTimeout(timer);
    return end;
  }

  #startForwarder(): Promise<readonly Endpoint[]> {
    return new Promise((resolve, reject) => {
      let listening = false;
      const forwarder: ForwarderProcess = new ManagedProcess(
        { entry: this.#deps.forwarderEntry },
        this.#deps.clock,
        (message: FromForwarder) => {
          if (message.type === 'listen-failed') reject(listenFailed(message));
          else if (message.type === 'listening') {
            listening = true;
            resolve(message.addresses);
          } else this.#ledgers.update(message.ledger);
          if (message.type === 'drained') this.#onDrained?.(message);
        },
      );
      this.#forwarder = forwarder;
      this.#deps.logger.info({ pid: forwarder.pid }, 'forwarder started');
      this.#join(forwarder, this.#recorder);
      forwarder.send({ type: 'listen', options: this.#forwarderOptions });
      void forwarder.ended.then((end) => {
        reject(new AppError('INTERNAL', `the forwarder ended before it listened (${endText(end)})`));
        this.#onForwarderEnded(endText(end), listening);
      });
    });
  }

  /** Ties the two together by the pipe of whichever has not given its own away yet. */
  #join(forwarder: ForwarderProcess | null, recorder: RecorderProcess<Settings> | null): void {
    if (!forwarder || !recorder) return;
    const pipe = recorder.takePipe();
    forwarder.send({ type: 'recorder' }, pipe);
    if (!pipe) recorder.send({ type: 'forwarder' }, forwarder.takePipe());
  }

  /** The one place that starts a forwarder again: at once when it had served, else after a pause. */
  #onForwarderEnded(how: string, hadListened: boolean): void {
    this.#forwarder = null;
    this.#ledgers.forwarderEnded();
    if (this.#stopping || !this.#watch) return;
    this.#deps.logger.error({ how }, 'forwarder ended; its connections were cut; starting it again');
    setTimeout(
      () => {
        if (this.#stopping) return;
        this.#startForwarder().catch((error: unknown) => {
          this.#deps.logger.error({ reason: reasonOf(error) }, 'forwarder does not listen again yet');
        });
      },
      hadListened ? 0 : SUPERVISION.restartDelayMs,
    );
  }

  #spawnRecorder(): RecorderProcess<Settings> {
    const recorder: RecorderProcess<Settings> = new ManagedProcess(
      {
        entry: this.#deps.recorderEntry,
        execArgv: [`--max-old-space-size=${LIMITS.recorderHeapMib}`],
        niceness: RECORDER_NICENESS,
      },
      this.#deps.clock,
      (message: FromRecorder) => this.#onRecorderMessage(recorder, message),
    );
    this.#recorder = recorder;
    this.#join(this.#forwarder, recorder);
    void recorder.ended.then((end) => {
      if (this.#recorder === recorder) this.#onRecorderEnded(endText(end));
    });
    return recorder;
  }

  #openCapture(recorder: RecorderProcess<Settings>): void {
    recorder.send({ type: 'start', settings: this.#deps.recorder });
  }

  #onRecorderMessage(recorder: RecorderProcess<Settings>, message: FromRecorder): void {
    if (message.type === 'ready') {
      this.#restartDelayMs = SUPERVISION.restartDelayMs;
      // Said now and not before: one whose capture cannot be had is tried every few seconds, for weeks perhaps.
      this.#deps.logger.info({ pid: recorder.pid }, 'recorder started');
      this.#become('HEALTHY', 'recording');
      this.#seal(message.unsealed);
    } else if (message.type === 'fault') {
      const { message: fault, hint } = message;
      this.#become('OFF', 'NOT RECORDING: traffic flows, nothing is kept', { fault, hint });
    } else if (message.type === 'finished') {
      this.#seal([message.file]);
    } else if (message.type === 'beat') {
      this.#judgeBeat(recorder, message.rssBytes, message.shedding);
    }
  }

  #judgeBeat(recorder: RecorderProcess<Settings>, rssBytes: number, shedding: LossReason | null): void {
    if (rssBytes > LIMITS.recorderResidentBytes) {
      this.#deps.logger.error({ rssBytes }, 'recorder holds too much memory; killing it');
      recorder.kill();
    } else if (shedding) this.#become('SHEDDING', 'traffic flows, recording sheds', { reason: shedding });
    else this.#become('HEALTHY', 'recording');
  }

  #onRecorderEnded(how: string): void {
    this.#recorder = null;
    if (this.#stopping) return;
    this.#become('OFF', 'recorder ended; traffic flows, losses are counted', { how });
    setTimeout(() => {
      if (!this.#stopping) this.#openCapture(this.#spawnRecorder());
    }, this.#restartDelayMs);
    this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, SUPERVISION.restartDelayMaxMs);
  }

  /** A recorder that says nothing hangs, in a native call perhaps; only killing it helps. */
  #watchRecorder(): void {
    const recorder = this.#recorder;
    const nowNs = this.#deps.clock.nowNs();
    const sinceNs = nowNs - this.#watchedNs;
    this.#watchedNs = nowNs;
    // We did not run ourselves (a paused container, say): what it said meanwhile lies unread, if it ran at all.
    if (recorder && sinceNs > 2 * SUPERVISION.heartbeatMs * 1e6) recorder.lastWordNs = nowNs;
    if (!recorder || recorder.silenceNs() < SUPERVISION.heartbeatLimitMs * 1e6) return;
    this.#deps.logger.error(
      { silentMs: Math.round(recorder.silenceNs() / 1e6) },
      'recorder hangs; killing it',
    );
    recorder.lastWordNs = nowNs;
    recorder.kill();
  }

  #become(state: RecordingState, message: string, fields: object = {}): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#deps.logger[state === 'HEALTHY' ? 'info' : 'error']({ state, ...fields }, message);
  }

  #seal(files: readonly string[]): void {
    if (files.length === 0) return;
    const sealing = this.#deps
      .seal(files)
      .catch((error: unknown) => {
        this.#deps.logger.error(
          { files, reason: reasonOf(error) },
          'segment was not sealed; it stays readable',
        );
      })
      .finally(() => this.#sealing.delete(sealing));
    this.#sealing.add(sealing);
  }
}

/** The same options with the addresses that were bound: a port of 0 stands for one that is known now. */
function boundTo(options: WireOptions, addresses: readonly Endpoint[]): WireOptions {
  const pairs = options.pairs.map((pair, index) => ({ ...pair, listen: addresses[index] ?? pair.listen }));
  return { ...options, pairs };
}

function listenFailed(message: { message: string; hint: string | null }): AppError {
  return new AppError('LISTEN_FAILED', message.message, message.hint === null ? {} : { hint: message.hint });
}

function endText(end: { code: number | null; signal: NodeJS.Signals | null }): string {
  return end.signal ?? `exit ${end.code}`;
}
