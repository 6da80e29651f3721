import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LifeAccount, RecorderStatus } from '../../core/accounting.ts';
import type { Clock } from '../../core/clock.ts';
import type { DiskEstimate } from '../../core/disk-estimate.ts';
import { AppError, originOf, reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { Guard, type Logger, type Notice, NoticeLimit } from '../../core/ports.ts';
import { isAloneInGroup } from '../../monitors/host.ts';
import { ControlServer, type ProbeAddress, ProbeServer } from '../../proxy/control/admin-server.ts';
import type { PlaneOptions, RecorderBeat } from '../../proxy/control/messages.ts';
import {
  type RecorderDeath,
  type RecorderReady,
  RecorderSupervisor,
} from '../../proxy/control/recorder-supervisor.ts';
import type { ConnectionCounts, DataPlane } from '../../proxy/data-plane.ts';
import type { GatewayRoute } from '../../proxy/http/options.ts';
import { type Endpoint, formatEndpoint } from '../../proxy/net/endpoint.ts';
import { NO_TRAFFIC } from '../../proxy/recorder/exchange-monitor.ts';
import { readMark } from '../../proxy/recorder/pipe-server.ts';
import { Border } from '../../proxy/tap/border.ts';
import { Counters, type CountersReading } from '../../proxy/tap/counters.ts';
import { FrameQueue } from '../../proxy/tap/frame-queue.ts';
import { RecorderClient } from '../../proxy/tap/recorder-client.ts';
import { AccountKeeper } from '../../storage/capture/account-keeper.ts';
import type { RecorderSettings } from './capture.ts';
import { memoryBudget } from './memory-budget.ts';
import type { RecordOptions } from './record-options.ts';

/** Creates the selected data plane. Only its own code is loaded, because the wire plane needs no HTTP proxy. */
async function planeOf(
  options: PlaneOptions,
  border: Border,
  notify: (notice: Notice) => void,
): Promise<DataPlane> {
  if (options.mode === 'gateway') {
    const { ReverseProxy } = await import('../../proxy/http/reverse-proxy.ts');
    return new ReverseProxy(options, border, notify);
  }
  const { TcpProxy } = await import('../../proxy/tcp/tcp-proxy.ts');
  return new TcpProxy(options, border, notify);
}

/** Interval of log lines about refused clients. */
const TURNED_AWAY_MS = 60_000;
/** For a start that only its recorder can end. */
const NEVER = new Promise<never>(() => undefined);
const STOPPED = Symbol('stopped');
/** Failed recordings are reported at most once in this time. */
const TAP_FAILURE_MS = 10_000;

export interface RecordingDeps
  extends Pick<RecordOptions, 'plane' | 'recorder' | 'recorderNiceness' | 'probeListen' | 'failOpen'> {
  /** The file that a recorder process runs. */
  readonly recorderEntry: string;
  readonly version: string;
  /** Called with the first estimate of the disk's life, and whenever it changes considerably. */
  readonly estimated: (estimate: DiskEstimate) => void;
  readonly logger: Logger;
  readonly clock: Clock;
}

export interface RecordingEnd {
  readonly account: CountersReading;
  /** Connections that were closed at the deadline. */
  readonly cut: number;
  readonly turnedAway: number;
}

/**
 * The main process: it has the sockets, counts traffic, supervises the recorder, and answers probes and operators. If
 * the recorder dies, hangs or is killed, traffic continues and losses are counted.
 */
export class Recording {
  readonly #deps: RecordingDeps;
  readonly #life = randomBytes(4).toString('hex');
  readonly #startedUs: number;
  /** The newest segment of this recording; null before the first. */
  #segment: string | null = null;
  readonly #state: RecordingState;
  /** What runs in this process beside forwarding runs here. */
  readonly guard = new Guard((error) => this.#onFailure(error));
  readonly #border: Border;
  readonly #link: RecorderClient;
  readonly #recorder: RecorderSupervisor<RecorderSettings>;
  /** Null until a recorder has the capture open. */
  #capture: Pick<RecorderReady, 'directory' | 'maxDiskBytes'> | null = null;
  readonly #file: AccountKeeper;
  readonly #turnedAwayLimit: NoticeLimit;
  readonly #tapFailureLimit: NoticeLimit;
  /** How often the recording in this process failed. */
  #failures = 0;
  /** Refused connections that the log has reported. */
  #turnedAwayTold = 0;
  readonly #control: ControlServer;
  readonly #probes: ProbeServer;
  /** Aborted when a stop must not wait any longer. */
  readonly #hurry = new AbortController();
  readonly #timers: NodeJS.Timeout[] = [];
  #plane: DataPlane | null = null;
  #bound: readonly Endpoint[] = [];
  /** The address of probes; null without them, or while their address is not available. */
  probeAddress: ProbeAddress | null = null;
  /** A recorder is ready, but the control socket is not. */
  #opening = false;
  #listening = false;
  #paused = false;
  #draining = false;
  #stopping = false;
  /** The queue of pauses and resumes, which run one after the other. */
  #switching: Promise<void> = Promise.resolve();
  #askDrain: () => void = () => undefined;
  /**
   * Set while a start waits for the first recorder. Called with the reason why the capture cannot be opened, or with
   * null.
   */
  #onFirstWord: ((refusal: AppError | null) => void) | null = null;
  /** Resolves when an operator requests a stop over the control socket, like SIGTERM. */
  readonly drainAsked: Promise<void>;

  constructor(deps: RecordingDeps) {
    this.#deps = deps;
    const { clock, logger } = deps;
    this.#startedUs = clock.epochUs();
    this.#state = new RecordingState(logger, this.guard);
    const guard = this.guard;
    const counters = new Counters();
    const queue = new FrameQueue(guard, memoryBudget().queueBytes);
    this.#link = new RecorderClient({ queue, clock, counters, guard });
    const onTapFailure = (error: unknown) => this.#onTapFailure(error);
    this.#border = new Border({ client: this.#link, counters, guard, onTapFailure });
    this.#turnedAwayLimit = new NoticeLimit(clock, TURNED_AWAY_MS);
    this.#tapFailureLimit = new NoticeLimit(clock, TAP_FAILURE_MS);
    this.#file = new AccountKeeper({
      dir: deps.recorder.dir,
      opensFirst: !deps.failOpen,
      accountOf: () => this.#account(),
      noticeAt: (turns, notice) => counters.noticeAt(turns, notice),
      logger,
      guard,
    });
    this.#recorder = this.#supervisor();
    this.#control = new ControlServer(this, logger);
    this.#probes = new ProbeServer({ isReady: () => this.#isReady, statusOf: () => this.status(), logger });
    this.drainAsked = new Promise((resolve) => {
      this.#askDrain = resolve;
    });
  }

  /** Whether clients are accepted. The recording has no part in it. */
  get #isReady(): boolean {
    return !this.#draining && this.#listening && (this.#plane?.accepts ?? false);
  }

  /** The current status. */
  status(): RecorderStatus {
    const { version, clock, plane, recorder } = this.#deps;
    const { pid, restarts, lastBeat } = this.#recorder;
    const { connections: seen, unsettledConnections: _, ...account } = this.#border.read();
    const { open, turnedAway, failed = {}, refused = {} } = this.#plane?.connections ?? NO_CONNECTIONS;
    // At the end the recorder stops first, with everything recorded. The state is healthy then, although nothing is
    // recorded any more.
    const hasEnded = this.#draining && pid === null && this.#state.name === 'HEALTHY';
    return {
      schema: 'reprise-status/1',
      version,
      mode: plane.mode,
      state: hasEnded ? 'OFF' : this.#state.name,
      why: hasEnded ? 'ended' : this.#state.why,
      paused: this.#paused,
      draining: this.#draining,
      ready: this.#isReady,
      startedUs: this.#startedUs,
      atUs: clock.epochUs(),
      pairs: plane.pairs.map(({ listen, target }, index) => ({
        listen: formatEndpoint(this.#bound[index] ?? listen),
        target: formatEndpoint(target),
      })),
      routes: plane.mode === 'gateway' ? plane.routes.map(routeText) : [],
      pids: { proxy: process.pid, recorder: pid },
      restarts: { recorder: restarts },
      recordingFailures: this.#failures,
      connections: { open, seen, turnedAway, failed, refused },
      probesDropped: this.#probes.dropped,
      ...account,
      bodiesCut: lastBeat?.bodiesCut ?? 0,
      queuedBytes: this.#link.queue.heldBytes,
      recorderResidentBytes: pid === null ? null : (lastBeat?.rssBytes ?? null),
      disk: {
        directory: this.#capture?.directory ?? recorder.dir,
        bytes: lastBeat?.store?.bytes ?? null,
        maxBytes: this.#capture?.maxDiskBytes ?? null,
        freeBytes: lastBeat?.store?.freeBytes ?? null,
      },
      traffic: lastBeat?.traffic ?? NO_TRAFFIC,
      recent: lastBeat?.recent ?? [],
      mirror: lastBeat?.mirror ?? null,
    };
  }

  /**
   * Starts the recorder and listens. Nothing is listened on before the capture is open, and a capture that cannot be
   * opened is an error. If it fails open, it listens first, and whatever passes without a capture is counted.
   * @param stopAsked ends the wait for the capture
   * @returns the bound addresses, in the order of the options; none if a stop came first
   * @throws AppError LISTEN_FAILED; OUTPUT_UNWRITABLE if the capture cannot be opened
   */
  async start(stopAsked: Promise<unknown> = NEVER): Promise<readonly Endpoint[]> {
    const { logger, failOpen } = this.#deps;
    const plane = await planeOf(this.#deps.plane, this.#border, ({ level, fields, message }) =>
      logger[level](fields, message),
    );
    this.#plane = plane;
    // An address in use is found before anything is created.
    if (!failOpen) await plane.check();
    try {
      // The account begins before the first byte, because all processes may be killed before a recorder has the capture
      // open.
      await this.#file.begin(SUPERVISION.lingerMs);
      if (failOpen) await this.#listen(plane);
      if (!(await this.#record(stopAsked))) return [];
      if (!failOpen) await this.#listen(plane);
      return this.#bound;
    } catch (error) {
      await this.stop({ delayMs: 0, deadlineMs: 0 });
      await this.#file.discard(SUPERVISION.lingerMs);
      throw error;
    }
  }

  async #listen(plane: DataPlane): Promise<void> {
    this.#bound = await plane.listen();
    this.#listening = true;
  }

  /**
   * Starts the recorder and, unless the recording fails open, waits until it has the capture open.
   * @returns false if a stop came first
   * @throws AppError OUTPUT_UNWRITABLE
   */
  async #record(stopAsked: Promise<unknown>): Promise<boolean> {
    const { probeListen, failOpen } = this.#deps;
    const opened = new Promise<AppError | null>((resolve) => {
      if (failOpen) resolve(null);
      else this.#onFirstWord = resolve;
    });
    this.guard.run(() => this.#recorder.start());
    this.#every(SUPERVISION.heartbeatMs, () => {
      this.#tellTurnedAway();
      // The pipe of a recorder whose recording failed is gone for good, so it must not go on without one.
      if (this.#recorder.ready && !this.#link.attached) this.#recorder.abandon();
      this.#recorder.tellAccount();
    });
    this.#every(SUPERVISION.accountMs, () => this.#file.write());
    if (probeListen) this.probeAddress = await this.#probes.listen(probeListen);
    const stopped = stopAsked.then(() => STOPPED);
    const refusal = await Promise.race([opened, stopped]);
    this.#onFirstWord = null;
    if (refusal instanceof AppError) throw refusal;
    return refusal !== STOPPED;
  }

  /** Requests the same as SIGTERM. */
  drain(): void {
    this.#askDrain();
  }

  /** Stops recording until `resume`. Traffic flows, and its exchanges count as lost (`writer_down`). */
  pause(): Promise<void> {
    return this.#switch(async () => {
      if (this.#paused || this.#stopping) return;
      this.#paused = true;
      await this.#recorder.stop('writer_down', false);
      this.#state.off('paused', 'NOT RECORDING: paused by an operator; traffic flows, losses are counted');
    });
  }

  #switch(work: () => Promise<void>): Promise<void> {
    this.#switching = this.#switching.then(() => this.guard.finish(work));
    return this.#switching;
  }

  resume(): Promise<void> {
    return this.#switch(async () => {
      if (!this.#paused || this.#stopping) return;
      this.#paused = false;
      this.#recorder.start();
      // Waits for the new state, which the operator's client reads from the response.
      await this.#state.nextWord(SUPERVISION.resumeWaitMs);
    });
  }

  /**
   * Reports not ready, continues to accept for `delayMs`, drains, flushes and seals. Resolves when no part of it is
   * running.
   */
  async stop({ delayMs, deadlineMs }: { delayMs: number; deadlineMs: number }): Promise<RecordingEnd> {
    this.#draining = true;
    // Only a load balancer that saw it listening needs time to see that it ends.
    if (this.#listening) await sleep(delayMs, null, { signal: this.#hurry.signal }).catch(() => undefined);
    this.#stopping = true;
    await this.#switching;
    this.#listening = false;
    const cut = (await this.#plane?.drain(this.#hurry.signal.aborted ? 0 : deadlineMs)) ?? 0;
    // Whatever fails here, the rest is done, and no recorder is left.
    for (const step of [
      async () => this.#recorder.hurry(),
      () => this.#link.flush(SUPERVISION.flushMs),
      () => this.#recorder.stop('crash_gap', true),
      // Only now, because a recorder that was late with the flush may have committed more while it ended.
      () => this.#link.finish(SUPERVISION.lingerMs),
      // Again, for a recorder that an exception left running.
      () => this.#recorder.stop('crash_gap', true),
    ])
      await this.guard.finish(step);
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    await this.guard.finish(() => this.#file.end(SUPERVISION.lingerMs));
    this.#probes.close();
    await this.#control.close();
    const turnedAway = this.#plane?.connections.turnedAway ?? 0;
    return { account: this.#border.read(), cut, turnedAway };
  }

  /** Ends the waiting of a stop. */
  hurry(): void {
    this.#hurry.abort();
    this.#plane?.cut();
  }

  #account(): LifeAccount {
    const { connections: _, unsettledConnections: __, ...counters } = this.#border.read();
    return {
      life: this.#life,
      startedUs: this.#startedUs,
      atUs: Math.round(this.#deps.clock.epochUs()),
      ended: this.#link.finished,
      turnsAhead: null,
      segment: this.#segment,
      ...counters,
    };
  }

  #supervisor(): RecorderSupervisor<RecorderSettings> {
    const { recorderEntry: entry, recorder: settings, clock, logger } = this.#deps;
    return new RecorderSupervisor({
      entry,
      settings,
      clock,
      logger,
      memory: memoryBudget(),
      priority: { niceness: this.#deps.recorderNiceness, isAlone: isAloneInGroup() },
      queueFill: () => this.#link.queue.fill,
      accountOf: () => this.#account(),
      guard: this.guard,
      events: {
        spawned: (pipe) => this.#link.attach(pipe),
        ready: (message) => this.guard.start(() => this.#onReady(message)),
        beat: (beat) => this.#onBeat(beat),
        estimated: (estimate) => this.#deps.estimated(estimate),
        begun: (file) => {
          this.#segment = file;
        },
        fault: (fault, hint) => {
          if (this.#refuses(fault, hint ?? 'Check --dir.')) return;
          const fields = { fault, hint, control: 'not answered while the capture cannot be opened' };
          this.#state.off(fault, 'NOT RECORDING: traffic flows, nothing is kept', fields);
        },
        died: (death) => this.#onDied(death),
      },
    });
  }

  async #onReady({ isNew, directory, maxDiskBytes, progress }: RecorderReady): Promise<void> {
    this.#onFirstWord?.(null);
    if (isNew) for (const line of storedLines(this.#deps.recorder)) this.#deps.logger.info({}, line);
    // Logged once, because a restarted recorder continues its own capture.
    else if (this.#capture === null)
      this.#deps.logger.info({ directory }, 'added to the capture that is there');
    this.#link.captureOpened(progress);
    this.#capture = { directory, maxDiskBytes };
    this.#file.moveTo(directory);
    // A client that reads the log line about recording may query the recording at once, so the control socket comes
    // first.
    this.#opening = true;
    await this.#control.open(directory);
    this.#opening = false;
    if (this.#recorder.ready) this.#records();
  }

  #onBeat(beat: RecorderBeat): void {
    if (beat.shedding) this.#state.shedding(beat.shedding);
    else if (!this.#opening) this.#records();
  }

  /** A recorder that was started only for a test does not count as recording. */
  #records(): void {
    if (!this.#paused && !this.#recorder.givenUp && this.#link.attached) this.#state.healthy();
  }

  /** Ends a start that waits for the capture. @returns false if none waits */
  #refuses(why: string, hint: string): boolean {
    const otherwise = 'With --fail-open, traffic is forwarded all the same.';
    const how = { hint: `${hint} ${otherwise}` };
    this.#onFirstWord?.(new AppError('OUTPUT_UNWRITABLE', `nothing can be recorded: ${why}`, how));
    return this.#onFirstWord !== null;
  }

  #onDied({ how, ofItself, keepsWorkMark }: RecorderDeath): void {
    if (this.#refuses(`the recorder ended before the capture was open (${how})`, 'See its last messages.'))
      return;
    // It was killed for that. The state says more than its death.
    if (this.#state.name === 'FAILED') return;
    const message = 'recorder ended; traffic flows, losses are counted';
    if (this.#recorder.givenUp) {
      this.#state.off('the recorder died again and again', `${message}; it is tried once a minute`, { how });
    } else this.#state.shedding('writer_down', message, { how });
    if (ofItself && keepsWorkMark) this.guard.start(() => this.#quarantine());
  }

  /**
   * Excludes the connection that the last recorder was processing when it died, so that the next recorder does not die
   * too.
   */
  async #quarantine(): Promise<void> {
    const connection = this.#capture === null ? null : await readMark(this.#capture.directory);
    if (connection === null) return;
    const message = 'the recorder died of a connection; the rest of it is left out (unparsed)';
    this.#deps.logger.error({ connection }, message);
    this.#link.quarantine(connection);
  }

  #tellTurnedAway(): void {
    const turnedAway = this.#plane?.connections.turnedAway ?? 0;
    const connections = turnedAway - this.#turnedAwayTold;
    if (connections === 0 || !this.#turnedAwayLimit.passes()) return;
    this.#turnedAwayTold = turnedAway;
    const message =
      'client connections were refused: the limit of --max-connections and of open files is reached';
    this.#deps.logger.warn({ connections, turnedAway }, message);
  }

  /**
   * Something of the recording threw outside of any connection. Nothing of it can be trusted, so the recorder is started
   * again, as after its death. Traffic is only counted until then.
   */
  #onFailure(error: unknown): void {
    const why = reasonOf(error);
    if (this.#refuses(`the recording failed: ${why}`, 'See the log.')) return;
    this.#border.tear();
    this.#failures += 1;
    const fields = { ...originOf(error), failures: this.#failures };
    this.#state.failed(why, 'NOT RECORDING: the recording failed; traffic flows, losses are counted', fields);
    this.guard.run(() => this.#link.abandon());
    this.guard.run(() => this.#recorder.abandon());
  }

  #onTapFailure(error: unknown): void {
    if (!this.#tapFailureLimit.passes()) return;
    const fields = { reason: reasonOf(error), stack: error instanceof Error ? error.stack : undefined };
    const message = 'a connection is not recorded any more: recording it failed; its traffic goes on';
    this.#deps.logger.error(fields, message);
  }

  #every(ms: number, act: () => void): void {
    this.#timers.push(this.guard.every(ms, act));
  }
}

/** The contents of a new capture, and how to reduce them. */
function storedLines({ policy, encryptionKeyFile }: RecorderSettings): string[] {
  const { bodies, redact } = policy;
  const kept = { all: 'request and response bodies', requests: 'request bodies', none: 'no body' }[bodies];
  const rules = [...redact.presets, ...redact.rules];
  return [
    `stored: time, path, headers and ${kept} of each exchange${encryptionKeyFile === null ? '' : ', encrypted'}`,
    `masked: credentials in headers and URLs${rules.length === 0 ? '; nothing in bodies' : `; in bodies ${rules.join(', ')}`}`,
    'to mask more: --redact-preset llm, --redact /prompt=mask or --bodies none; reprise forget removes what is stored',
  ];
}

const NO_CONNECTIONS: ConnectionCounts = { open: 0, turnedAway: 0 };

function routeText({ match, path, target }: GatewayRoute): RecorderStatus['routes'][number] {
  return { path: match === 'prefix' ? `${path}*` : path, target: formatEndpoint(target) };
}

type StateName = RecorderStatus['state'];

/** The state of the recording. Each change is logged once; repetitions are not. */
class RecordingState {
  readonly #logger: Logger;
  readonly #guard: Guard;
  /** Null before the first report of a recorder. */
  #name: StateName | null = null;
  #why: string | null = null;
  #onWord: () => void = () => undefined;

  constructor(logger: Logger, guard: Guard) {
    this.#logger = logger;
    this.#guard = guard;
  }

  /** Before the first report, nothing is recorded. */
  get name(): StateName {
    return this.#name ?? 'OFF';
  }

  /** Null if it is healthy or its state is unknown. */
  get why(): string | null {
    return this.#why;
  }

  /** Resolves at the next report of the state, or after this number of milliseconds. */
  nextWord(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#guard.after(limitMs, resolve);
      this.#onWord = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  healthy(): void {
    this.#become('HEALTHY', null, 'recording');
  }

  shedding(why: string, message = 'traffic flows, recording sheds', fields: object = {}): void {
    this.#become('SHEDDING', why, message, { reason: why, ...fields });
  }

  failed(why: string, message: string, fields: object): void {
    this.#become('FAILED', why, message, fields);
  }

  off(why: string, message: string, fields: object = {}): void {
    this.#become('OFF', why, message, fields);
  }

  #become(name: StateName, why: string | null, message: string, fields: object = {}): void {
    const changed = name !== this.#name;
    this.#name = name;
    this.#why = why;
    this.#onWord();
    if (changed) this.#logger[name === 'HEALTHY' ? 'info' : 'error']({ state: name, ...fields }, message);
  }
}
