import { readdirSync, readFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Guard, Logger } from '../../core/ports.ts';

/** If the queue is this full, or after this silence, the recorder has the priority of the traffic. */
const EASED_FILL = 1 / 32;
const EASED_SILENCE_MS = 3_000;

/**
 * The priority of a recorder. Traffic comes first if both want a processor: on a host with two cores, a commit would
 * make the proxy wait. But a recorder that gets no processor loses traffic. So it starts without niceness and gets it
 * once it records. It loses it as its queue fills or its heartbeat is late. Beside other programs, a niceness that
 * cannot be taken back is not given: a busy model server could keep the recorder from the processor for ever.
 */
export class RecorderPriority {
  readonly #pid: number;
  readonly #niceness: number;
  readonly #isAlone: boolean;
  #mayReturn: boolean | null = null;
  #now: number;

  /**
   * A process inherits the niceness of the thread that starts it. The recorder does not keep one below 0.
   * @param pid process id of a recorder that this process has just started
   * @param isAlone whether no other program uses our share of the processors
   */
  constructor(pid: number, niceness: number, isAlone: boolean) {
    this.#pid = pid;
    this.#niceness = niceness;
    this.#isAlone = isAlone;
    this.#now = nicenessOfTraffic();
    // The main thread comes first: threads that it starts later inherit its niceness.
    for (const thread of [pid, ...threadsOf(pid)]) if (nicenessOf(thread) < 0) isSet(thread, 0);
  }

  /**
   * @param fill the share of the queue that is in use
   * @param silentMs time since the recorder's last message
   */
  follow(fill: number, silentMs: number): void {
    const need = Math.min(1, Math.max(fill / EASED_FILL, silentMs / EASED_SILENCE_MS - 0.5));
    const eased = Math.round(this.#niceness * (1 - Math.max(0, need)));
    const niceness = Math.max(nicenessOfTraffic(), eased);
    if (niceness === this.#now) return;
    this.#mayReturn ??= this.#isAlone || mayReturn(this.#pid, this.#now);
    if (!this.#mayReturn) return;
    this.#now = niceness;
    // A refusal is ignored: everything works without it, and the process may have ended.
    isSet(this.#pid, niceness);
  }
}

/** The niceness of this process, or 0 if it is below 0. */
function nicenessOfTraffic(): number {
  return Math.max(0, nicenessOf(process.pid));
}

/** A process or thread that uses more than this share of a processor is busy. */
const BUSY_SHARE = 0.25;
/** After this time without being busy, it gets its priority back. */
const CALM_NS = 2e9;

/**
 * The priority of a process that forwards, or of a thread that sends. Every request passes it twice and takes little of
 * its time. Beside a model server that takes every processor, clients would wait longer for it than for the model. nginx
 * calls the same `worker_priority`. A busy one gets no priority: it would be woken for each request alone, and would
 * need a quarter more processor time per request. Busy means the processor time that it got, not what it wants. So one
 * that gets too little keeps its priority.
 */
export class ForwardingPriority {
  readonly #id: number;
  readonly #niceness: number;
  readonly #follows: boolean;
  #isRaised = true;
  #busyNs = Number.NEGATIVE_INFINITY;

  /**
   * @param id of a process; 0 is the calling process, on Linux the calling thread
   * @throws the system's error if it refuses that niceness
   */
  constructor(id: number, niceness: number) {
    this.#id = id;
    this.#niceness = niceness;
    setPriority(id, niceness);
    this.#follows = niceness < 0 && mayReturn(id, niceness);
  }

  /** @param share share of a processor that was used since the last call */
  follow(share: number, nowNs: number): void {
    if (share > BUSY_SHARE) this.#busyNs = nowNs;
    const isRaised = nowNs - this.#busyNs > CALM_NS;
    if (isRaised === this.#isRaised || !this.#follows) return;
    this.#isRaised = isRaised;
    // A refusal means that the right was taken from us meanwhile: traffic flows at the usual priority.
    isSet(this.#id, isRaised ? this.#niceness : 0);
  }
}

/** How often to check how busy this process is. */
const LOOK_MS = 250;

/**
 * Gives this process its priority, and then checks regularly how busy it is.
 * @param isAsked whether the user asked for this niceness. If not, a niceness that the user started us with stays, and
 *   a refusal is not logged, because most systems refuse.
 */
export function takePriority(
  niceness: number,
  isAsked: boolean,
  { logger, clock, guard }: { logger: Logger; clock: Clock; guard: Guard },
): void {
  if (!isAsked && nicenessOf(process.pid) !== 0) return;
  try {
    const priority = new ForwardingPriority(process.pid, niceness);
    let before = processorTime(clock);
    const look = () => {
      const now = processorTime(clock);
      priority.follow((now.takenNs - before.takenNs) / (now.atNs - before.atNs), now.atNs);
      before = now;
    };
    if (niceness < 0) guard.every(LOOK_MS, look).unref();
  } catch (error) {
    if (!isAsked) return;
    const hint = `a niceness below 0 needs CAP_SYS_NICE, which root has outside containers, or ulimit -e ${20 - niceness}`;
    logger.warn({ niceness, reason: reasonOf(error), hint }, 'the system refuses --niceness proxy');
  }
}

/** The priority of the calling thread, if the system allows it one. A niceness that the user started us with stays. */
export class ThreadPriority {
  readonly #given: ForwardingPriority | null;
  #highest: number;
  #takenNs = threadTimeNs();
  #atNs = Number.NEGATIVE_INFINITY;

  constructor(niceness: number) {
    this.#given = givenToThread(niceness);
    this.#highest = nicenessOf(0);
  }

  /** The highest niceness that the thread has had. */
  get highest(): number {
    return this.#highest;
  }

  /** @param share share of its time since the last call that the thread worked, or waited for a processor to work */
  follow(share: number, nowNs: number): void {
    if (this.#given === null) return;
    const takenNs = threadTimeNs();
    const got = (takenNs - this.#takenNs) / (nowNs - this.#atNs);
    this.#takenNs = takenNs;
    this.#atNs = nowNs;
    this.#given.follow(Math.min(share, got), nowNs);
    this.#highest = Math.max(this.#highest, nicenessOf(0));
  }
}

/** Processor time of the calling thread; 0 if the system does not tell. */
function threadTimeNs(): number {
  try {
    return Number.parseInt(readFileSync('/proc/thread-self/schedstat', 'latin1'), 10);
  } catch {
    return 0;
  }
}

function givenToThread(niceness: number): ForwardingPriority | null {
  // Id 0 is the calling thread. Elsewhere it is the whole process, whose other threads should not come first.
  if (process.platform !== 'linux' || nicenessOf(0) !== 0) return null;
  try {
    return new ForwardingPriority(0, niceness);
  } catch {
    return null;
  }
}

function processorTime(clock: Clock): { readonly takenNs: number; readonly atNs: number } {
  const { user, system } = process.cpuUsage();
  return { takenNs: (user + system) * 1_000, atNs: clock.nowNs() };
}

/**
 * Whether a niceness can be taken back, tested with one step up and down. Capabilities and limits do not tell: in a
 * user namespace root has the capability, but the kernel requires the host's. After a refusal, the step stays.
 */
function mayReturn(id: number, niceness: number): boolean {
  return isSet(id, niceness + 1) && isSet(id, niceness);
}

/** @param id id of a process; on Linux also of a thread */
function isSet(id: number, niceness: number): boolean {
  try {
    setPriority(id, niceness);
    return true;
  } catch {
    return false;
  }
}

/** 0 if the system does not tell: the process has ended, or a sandbox refuses the call. */
function nicenessOf(id: number): number {
  try {
    return getPriority(id);
  } catch {
    return 0;
  }
}

/** On Linux each thread has its own niceness. Elsewhere a process has one niceness, and there is no list to read. */
function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
