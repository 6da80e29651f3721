import { setTimeout as sleep } from 'node:timers/promises';
import type { LossReason } from '../core/accounting.ts';
import { SUPERVISION } from '../core/limits.ts';
import type { RecorderStatus } from '../core/status.ts';
import { ControlServer } from './control-server.ts';
import { DrainDelay } from './drain-delay.ts';
import type { Endpoint } from './endpoint.ts';
import { type ForwarderChild, ForwarderKeeper } from './forwarder-keeper.ts';
import { startForwarders } from './forwarder-start.ts';
import type { RecorderBeat } from './messages.ts';
import { type ProbeAddress, ProbeServer } from './probe-server.ts';
import {
  type RecorderChild,
  type RecorderDeath,
  RecorderKeeper,
  type RecorderReady,
} from './recorder-keeper.ts';
import { RecordingAccount } from './recording-account.ts';
import { RecordingState } from './recording-state.ts';
import { SealQueue } from './seal-queue.ts';
import { RecorderReadings, statusOf } from './status-reading.ts';
import type { RecordingEnd, SupervisorDeps } from './supervisor-deps.ts';

/**
 * Ties forwarders and a recorder together, keeps the account of both, and answers whoever asks how they fare. It
 * touches no traffic: any of the processes may die, hang or be killed, and the others go on.
 */
export class Supervisor<Settings> {
  readonly #deps: SupervisorDeps<Settings>;
  readonly #state: RecordingState;
  readonly #forwarders: readonly ForwarderKeeper[];
  readonly #recorder: RecorderKeeper<Settings>;
  readonly #recorders = new RecorderReadings();
  readonly #account: RecordingAccount;
  readonly #control: ControlServer;
  readonly #probes: ProbeServer;
  readonly #sealing: SealQueue;
  #bound: readonly Endpoint[] = [];
  /** Where probes are answered; null without them, or while their address cannot be had. */
  probeAddress: ProbeAddress | null = null;
  #beat: NodeJS.Timeout | null = null;
  /** A recorder is ready, and the control socket not yet. */
  #opening = false;
  #paused = false;
  #draining = false;
  #stopping = false;
  /** Pausing and resuming, one after the other. */
  #switching: Promise<void> = Promise.resolve();
  readonly #delay = new DrainDelay();
  #askDrain: () => void = () => undefined;
  /** Resolves when an operator asks by the control socket for what SIGTERM asks for. */
  readonly drainAsked: Promise<void>;

  constructor(deps: SupervisorDeps<Settings>) {
    this.#deps = deps;
    const { clock, logger } = deps;
    this.#account = new RecordingAccount({ clock, logger });
    this.#sealing = new SealQueue(deps.sealer, logger);
    this.#state = new RecordingState(logger);
    this.#forwarders = Array.from({ length: deps.forwarders }, (_, slot) => this.#forwarderKeeper(slot));
    this.#recorder = this.#recorderKeeper();
    this.#control = new ControlServer(
      {
        status: () => this.status(),
        drain: () => this.#askDrain(),
        pause: () => this.pause(),
        resume: () => this.resume(),
      },
      logger,
    );
    this.#probes = new ProbeServer({ statusOf: () => this.status(), logger });
    this.drainAsked = new Promise((resolve) => {
      this.#askDrain = resolve;
    });
  }

  /** How it fares now, the forwarders' part as of their last beats. */
  status(): RecorderStatus {
    const { version, clock, forwarder, directory } = this.#deps;
    return statusOf({
      version,
      options: forwarder,
      bound: this.#bound,
      state: this.#state,
      paused: this.#paused,
      draining: this.#draining,
      startedUs: this.#account.startedUs,
      atUs: clock.epochUs(),
      supervisorPid: process.pid,
      forwarders: this.#forwarders,
      recorder: {
        pid: this.#recorder.process?.pid ?? null,
        restarts: this.#recorder.restarts,
        residentBytes: this.#recorder.lastBeat?.rssBytes ?? null,
      },
      reading: this.#account.reading,
      recorders: this.#recorders,
      directory,
    });
  }

  /**
   * Starts all processes. Only a listen address that cannot be had is an error; a recorder that cannot start is
   * a loud line and state OFF.
   * @returns the addresses that were bound, in the order they were asked for
   * @throws AppError LISTEN_FAILED
   */
  async start(): Promise<readonly Endpoint[]> {
    // The recorder's pipes are there before the first connection, its capture only once the addresses are ours.
    this.#recorder.spawn();
    this.#bound = await startForwarders(this.#forwarders, this.#deps.forwarder).catch(
      async (error: unknown) => {
        this.#stopping = true;
        await Promise.all([
          this.#recorder.abort(),
          ...this.#forwarders.map((forwarder) => forwarder.abort()),
        ]);
        await this.#close();
        throw error;
      },
    );
    this.#recorder.open();
    this.#beat = setInterval(() => void this.#account.beat(), SUPERVISION.heartbeatMs);
    if (this.#deps.probeListen) this.probeAddress = await this.#probes.listen(this.#deps.probeListen);
    return this.#bound;
  }

  /** Nothing is recorded until `resume`; traffic flows, and what passes is counted as lost (`writer_down`). */
  pause(): Promise<void> {
    this.#switching = this.#switching.then(async () => {
      if (this.#paused || this.#stopping) return;
      this.#paused = true;
      await this.#stopRecorder('writer_down');
      this.#state.off('paused', 'NOT RECORDING: paused by an operator; traffic flows, losses are counted');
      await this.#account.beat();
    });
    return this.#switching;
  }

  resume(): Promise<void> {
    this.#switching = this.#switching.then(async () => {
      if (!this.#paused || this.#stopping) return;
      this.#paused = false;
      this.#recorder.spawn();
      this.#recorder.open();
      // Whoever asked for it reads what came of it.
      await this.#state.nextWord(SUPERVISION.resumeWaitMs);
    });
    return this.#switching;
  }

  /**
   * Says that it is not ready any more, goes on accepting for `delayMs`, drains, flushes and seals. Ends when
   * nothing of it is left running.
   */
  async stop({ delayMs, deadlineMs }: { delayMs: number; deadlineMs: number }): Promise<RecordingEnd> {
    this.#draining = true;
    await this.#delay.wait(delayMs);
    this.#stopping = true;
    await this.#switching;
    const drained = await Promise.all(
      this.#forwarders.map((forwarder) => forwarder.stop(this.#delay.hurried ? 0 : deadlineMs)),
    );
    await this.#account.resolved(SUPERVISION.flushMs);
    // A disk that hangs holds up no stop for that.
    await Promise.race([this.#account.complete(), sleep(SUPERVISION.lingerMs, undefined, { ref: false })]);
    this.#employOneToTell();
    await this.#stopRecorder('crash_gap');
    await this.#sealing.settle(SUPERVISION.sealMs);
    await this.#close();
    const { ledger, turnedAway } = this.#account.reading;
    return { ledger, turnedAway, cut: drained.reduce((sum, end) => sum + (end?.cut ?? 0), 0) };
  }

  /** What would keep this process. It answers to the very end, for which silence would be taken. */
  async #close(): Promise<void> {
    if (this.#beat) clearInterval(this.#beat);
    await this.#account.end();
    await this.#deps.settleSealed();
    this.#probes.close();
    await this.#control.close();
  }

  /** Cuts short what a stop still waits for. */
  hurry(): void {
    this.#delay.hurry();
    for (const forwarder of this.#forwarders) forwarder.hurry();
  }

  /** Paused, or between two recorders: losses are owed to the capture, and there may be no next recording. */
  #employOneToTell(): void {
    if (this.#recorder.process || !this.#account.owes) return;
    this.#recorder.spawn();
    this.#recorder.open();
  }

  /** Told what it does not know yet, it commits and ends. */
  async #stopRecorder(because: LossReason): Promise<void> {
    const losses = this.#recorder.process ? (this.#account.tell()?.losses ?? []) : [];
    await this.#recorder.stop(losses, because);
  }

  #forwarderKeeper(slot: number): ForwarderKeeper {
    const { forwarderEntry: entry, clock, logger } = this.#deps;
    return new ForwarderKeeper({
      entry,
      clock,
      logger,
      events: {
        spawned: (forwarder) => this.#join(slot, forwarder, this.#recorder.process),
        reading: (reading) => this.#account.forwarderSaid(slot, reading),
        // What is owed to the capture now is told at the recorder's next beat.
        ended: () => this.#account.forwarderEnded(slot),
      },
    });
  }

  #recorderKeeper(): RecorderKeeper<Settings> {
    const { recorderEntry: entry, recorder: settings, forwarders: pipes, clock, logger } = this.#deps;
    return new RecorderKeeper({
      ...{ entry, settings, pipes, clock, logger },
      lifeOf: () => this.#account.life,
      events: {
        spawned: (recorder) => {
          for (const [slot, { process }] of this.#forwarders.entries()) this.#join(slot, process, recorder);
        },
        ready: (message) => void this.#onRecorderReady(message),
        beat: (beat) => this.#onRecorderBeat(beat),
        finished: (file) => this.#sealing.add([file]),
        feedEnded: (end) => this.#account.feedEnded(end),
        estimated: (estimate) => this.#deps.estimated(estimate),
        fault: (fault, hint) => {
          const fields = { fault, hint, control: 'not answered while the capture cannot be had' };
          this.#state.off(fault, 'NOT RECORDING: traffic flows, nothing is kept', fields);
        },
        gone: (unwritten) => {
          this.#recorders.recorderEnded();
          this.#account.recorderGone(unwritten);
        },
        died: (death) => this.#onRecorderDied(death),
      },
    });
  }

  /** Ties the two together by the pipe of whichever has not given its own away yet. */
  #join(slot: number, forwarder: ForwarderChild | null, recorder: RecorderChild<Settings> | null): void {
    if (!forwarder || !recorder) return;
    const pipe = recorder.takePipe(slot);
    forwarder.send({ type: 'recorder', pipe: this.#account.joined(slot) }, pipe);
    if (!pipe) recorder.send({ type: 'forwarder', slot }, forwarder.takePipe());
  }

  async #onRecorderReady(message: RecorderReady): Promise<void> {
    this.#recorders.directory = message.directory;
    this.#recorders.maxDiskBytes = message.maxDiskBytes;
    this.#sealing.add(message.unsealed);
    this.#deps.captureReady(message.directory);
    // Whoever reads in the log that it records may ask it at once.
    this.#opening = true;
    await this.#control.open(message.directory);
    this.#opening = false;
    if (this.#recorder.ready) this.#records();
    await this.#account.captureReady(message.directory, message.committed);
    this.#tellLosses();
  }

  #onRecorderBeat(beat: RecorderBeat): void {
    this.#recorders.update(beat);
    this.#account.recorderSaid(beat);
    this.#tellLosses();
    if (beat.shedding) this.#state.shedding(beat.shedding);
    else if (!this.#opening) this.#records();
  }

  /** One that was started only to tell what is owed, or to be probed, is no recording. */
  #records(): void {
    if (!this.#paused && !this.#recorder.givenUp) this.#state.healthy();
  }

  #onRecorderDied({ how, ofItself, watchful }: RecorderDeath): void {
    const message = 'recorder ended; traffic flows, losses are counted';
    if (this.#recorder.givenUp) {
      this.#state.off('the recorder died again and again', `${message}; it is tried once a minute`, { how });
    } else this.#state.shedding('writer_down', message, { how });
    if (ofItself && watchful) void this.#quarantine();
  }

  /** Keeps from the next recorder what the last one was at work on when it died. */
  async #quarantine(): Promise<void> {
    const mark = await this.#account.mark();
    if (!mark) return;
    this.#deps.logger.error(mark, 'the recorder died of a connection; the rest of it is left out (unparsed)');
    this.#forwarders[mark.slot]?.process?.send({ type: 'quarantine', connection: mark.connection });
  }

  #tellLosses(): void {
    const message = this.#recorder.ready ? this.#account.tell() : null;
    if (message) this.#recorder.process?.send({ type: 'losses', ...message });
  }
}
