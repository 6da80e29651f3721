import { readFileSync } from 'node:fs';
import { SUPERVISION } from '../../core/limits.ts';

/** State of a process's main thread, and its processor time so far. */
export interface ThreadReading {
  /** `asleep` includes a wait for a disk; `runnable` includes a wait for a processor. */
  readonly state: 'runnable' | 'asleep' | 'stopped';
  readonly cpuMs: number;
}

/** Clock ticks of /proc, which Linux fixes at 100 a second for user space. */
const TICK_MS = 10;
/** Positions of fields after the thread's name; see proc_pid_stat(5). */
const [STATE, USER_TICKS, SYSTEM_TICKS] = [0, 11, 12];

/** Null if the system has no /proc, or if the process has ended. */
export function readMainThread(pid: number): ThreadReading | null {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'latin1');
    // The name of a process may contain spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const letter = fields[STATE] ?? '';
    const state = letter === 'R' ? 'runnable' : 'Tt'.includes(letter) ? 'stopped' : 'asleep';
    return { state, cpuMs: (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * TICK_MS };
  } catch {
    // Without knowledge of the thread, only its silence decides.
    return null;
  }
}

/** What is known of a silent process. */
interface Silence {
  readonly hung: boolean;
  /** Null if the system does not tell, like `cpuMs`. */
  readonly state: ThreadReading['state'] | null;
  /** Processor time that it used since its last message. */
  readonly cpuMs: number | null;
  readonly silentMs: number;
}

/**
 * Judges a silent process. Waiting is no hang. If all processors are busy, a process may wait for one for seconds. A
 * commit waits for a slow disk. A process hangs if it used much processor time without a message, is stopped, or sleeps
 * longer than any disk takes.
 */
export class HangWatch {
  readonly #read: () => ThreadReading | null;
  #lastWordNs: number;
  #lookedNs: number;
  /** Processor time at the first look after the last message; null before that look. */
  #cpuBeforeMs: number | null = null;
  /** Time since the last message, by the state found at each look. */
  #spentMs = { runnable: 0, asleep: 0, stopped: 0 };

  constructor(read: () => ThreadReading | null, nowNs: number) {
    this.#read = read;
    this.#lastWordNs = nowNs;
    this.#lookedNs = nowNs;
  }

  /** A message came, or none could have been received. */
  heard(nowNs: number): void {
    this.#lastWordNs = nowNs;
    this.#cpuBeforeMs = null;
    this.#spentMs = { runnable: 0, asleep: 0, stopped: 0 };
  }

  /**
   * Called about once a second.
   * @param starting it has not recorded yet: its start may take more processor time
   */
  look(nowNs: number, starting: boolean): Silence {
    const sinceMs = (nowNs - this.#lookedNs) / 1e6;
    this.#lookedNs = nowNs;
    const silentMs = Math.round((nowNs - this.#lastWordNs) / 1e6);
    const reading = this.#read();
    if (reading === null)
      return { hung: silentMs >= SUPERVISION.asleepLimitMs, state: null, cpuMs: null, silentMs };
    const { state } = reading;
    this.#spentMs[state] += Math.min(sinceMs, silentMs);
    this.#cpuBeforeMs ??= reading.cpuMs;
    const cpuMs = reading.cpuMs - this.#cpuBeforeMs;
    const hung =
      cpuMs >= (starting ? SUPERVISION.startLimitMs : SUPERVISION.heartbeatLimitMs) ||
      this.#spentMs.stopped >= SUPERVISION.heartbeatLimitMs ||
      this.#spentMs.asleep >= SUPERVISION.asleepLimitMs;
    return { hung, state, cpuMs, silentMs };
  }
}
