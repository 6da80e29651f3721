import { readdirSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import type { Clock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Logger } from '../../core/ports.ts';

/** At this share of the queue, or after this silence, the recorder has the priority of the traffic. */
const EASED_FILL = 1 / 32;
const EASED_SILENCE_MS = 3_000;

/**
 * The priority of a recorder. Traffic comes first wherever both want a processor: on a host of two cores a commit would
 * make the proxy wait. But a recorder that gets no processor loses what it is there for. So it starts without niceness,
 * gets it once it records, and loses it as its queue fills or its word is late. A niceness that cannot be taken back is
 * not given beside other programs: a busy model server would keep the recorder from the processor for ever.
 */
export class RecorderPriority {
  readonly #pid: number;
  readonly #niceness: number;
  readonly #isAlone: boolean;
  #mayReturn: boolean | null = null;
  #now: number;

  /**
   * A process begins with the niceness of the thread that started it. The recorder keeps nothing of ours below 0.
   * @param pid of a recorder that was just started by this process
   * @param isAlone no other program has a part in our share of the processors
   */
  constructor(pid: number, niceness: number, isAlone: boolean) {
    this.#pid = pid;
    this.#niceness = niceness;
    this.#isAlone = isAlone;
    this.#now = nicenessOfTraffic();
    // The main thread comes first: what it starts later has its niceness.
    for (const thread of [pid, ...threadsOf(pid)]) if (nicenessOf(thread) < 0) isSet(thread, 0);
  }

  /**
   * @param fill the share of the queue that is in use
   * @param silentMs since the recorder said something
   */
  follow(fill: number, silentMs: number): void {
    const need = Math.min(1, Math.max(fill / EASED_FILL, silentMs / EASED_SILENCE_MS - 0.5));
    const eased = Math.round(this.#niceness * (1 - Math.max(0, need)));
    const niceness = Math.max(nicenessOfTraffic(), eased);
    if (niceness === this.#now) return;
    this.#mayReturn ??= this.#isAlone || mayReturn(this.#pid, this.#now);
    if (!this.#mayReturn) return;
    this.#now = niceness;
    // A refusal changes nothing: everything works without it, and a process that has ended has no priority.
    isSet(this.#pid, niceness);
  }
}

/** Of this process, unless it is before other programs. */
function nicenessOfTraffic(): number {
  return Math.max(0, nicenessOf(process.pid));
}

/** A proxy that takes this share of a processor is busy itself. */
const BUSY_SHARE = 0.25;
/** After this time of being less busy, it has its priority again. */
const CALM_NS = 2e9;

/**
 * The priority of the process that forwards. Every request passes it twice and needs little of it: beside a model server
 * that takes every processor, clients would wait longer for it than for the model. nginx calls the same
 * `worker_priority`. A proxy that is busy itself has none: woken for each request alone, it would take a quarter more of
 * a processor for each. Busy is what it got, not what it wants: where it gets too little, it has its priority.
 */
export class ProxyPriority {
  readonly #pid: number;
  readonly #niceness: number;
  readonly #follows: boolean;
  #isRaised = true;
  #busyNs = Number.NEGATIVE_INFINITY;

  /** @throws what the system says when it refuses that niceness */
  constructor(pid: number, niceness: number) {
    this.#pid = pid;
    this.#niceness = niceness;
    setPriority(pid, niceness);
    this.#follows = niceness < 0 && mayReturn(pid, niceness);
  }

  /** @param share of a processor, that the proxy took since the last call */
  follow(share: number, nowNs: number): void {
    if (share > BUSY_SHARE) this.#busyNs = nowNs;
    const isRaised = nowNs - this.#busyNs > CALM_NS;
    if (isRaised === this.#isRaised || !this.#follows) return;
    this.#isRaised = isRaised;
    // A refusal means that the right was taken from us meanwhile: traffic flows at the usual priority.
    isSet(this.#pid, isRaised ? this.#niceness : 0);
  }
}

/** How often it is looked how busy this process is. */
const LOOK_MS = 250;

/**
 * Gives this process its priority, and looks from then on how busy it is.
 * @param isAsked whether the user asked for this niceness. If not, a niceness that the user started us with stays, and a
 *   refusal is not worth a word, because most systems refuse.
 */
export function takePriority(niceness: number, isAsked: boolean, logger: Logger, clock: Clock): void {
  if (!isAsked && nicenessOf(process.pid) !== 0) return;
  try {
    const priority = new ProxyPriority(process.pid, niceness);
    let before = processorTime(clock);
    const look = () => {
      const now = processorTime(clock);
      priority.follow((now.takenNs - before.takenNs) / (now.atNs - before.atNs), now.atNs);
      before = now;
    };
    if (niceness < 0) setInterval(look, LOOK_MS).unref();
  } catch (error) {
    if (!isAsked) return;
    const hint = `a niceness below 0 needs CAP_SYS_NICE, which root has outside containers, or ulimit -e ${20 - niceness}`;
    logger.warn({ niceness, reason: reasonOf(error), hint }, 'the system refuses --proxy-niceness');
  }
}

function processorTime(clock: Clock): { readonly takenNs: number; readonly atNs: number } {
  const { user, system } = process.cpuUsage();
  return { takenNs: (user + system) * 1_000, atNs: clock.nowNs() };
}

/**
 * Whether a niceness can be taken back, found out by a single step: capabilities and limits do not tell, because in a
 * user namespace root has the capability, and the kernel asks for that of the host. A refusal leaves the step.
 */
function mayReturn(id: number, niceness: number): boolean {
  return isSet(id, niceness + 1) && isSet(id, niceness);
}

/** @param id of a process; on Linux, of a thread */
function isSet(id: number, niceness: number): boolean {
  try {
    setPriority(id, niceness);
    return true;
  } catch {
    return false;
  }
}

/** 0 where the system does not say: the process has ended, or a sandbox refuses the question. */
function nicenessOf(id: number): number {
  try {
    return getPriority(id);
  } catch {
    return 0;
  }
}

/** On Linux each thread has a niceness of its own. Elsewhere there is nothing to read, and a process has one. */
function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
