import { readKernelFile } from '../monitors/kernel-file.ts';

/** Reads a file of a thread's below `/proc`; empty where the thread has ended. */
export type ThreadFile = (id: string, name: 'stat' | 'schedstat') => string;

const RUNNABLE = 'R';
/** So long a thread has waited for a processor between two looks that come ten times a second. */
const WAITED_NS = 80_000_000;

/**
 * Tells whether threads want to run and do not get a processor. One that is runnable at two looks and was not given
 * a nanosecond between them was so all the time: it cannot have slept without running first. One that is given a
 * slice now and then, as Linux gives to its idle class on a full machine, has waited for it: that is counted when it
 * comes.
 */
export class StarvedThreads {
  readonly #ids: readonly string[];
  readonly #read: ThreadFile;
  /** What each that was runnable at the last look had run by then, as Linux writes it. */
  #ran = new Map<string, string>();
  /** How long each had waited by then. */
  #waitedNs = new Map<string, number>();

  constructor(ids: readonly string[], read: ThreadFile = readThreadFile) {
    this.#ids = ids;
    this.#read = read;
  }

  /** Whether it can be told of each: not where the host does not say what a thread has run. */
  get areSeen(): boolean {
    return this.#ids.every((id) => stateOf(this.#read(id, 'stat')) !== '' && this.#ranNs(id) !== '');
  }

  /** Whether any has waited since the look before. */
  look(): boolean {
    const ran = new Map<string, string>();
    const waited = new Map<string, number>();
    for (const id of this.#ids) {
      const isRunnable = stateOf(this.#read(id, 'stat')) === RUNNABLE;
      const [ranNs = '', waitedNs = ''] = this.#read(id, 'schedstat').split(' ');
      if (ranNs === '') continue;
      if (isRunnable) ran.set(id, ranNs);
      waited.set(id, Number(waitedNs));
    }
    const stood = [...ran].some(([id, ranNs]) => this.#ran.get(id) === ranNs);
    const waitedLong = [...waited].some(([id, ns]) => ns - (this.#waitedNs.get(id) ?? ns) >= WAITED_NS);
    this.#ran = ran;
    this.#waitedNs = waited;
    return stood || waitedLong;
  }

  /** As Linux writes it; empty where it does not. */
  #ranNs(id: string): string {
    return this.#read(id, 'schedstat').split(' ')[0] ?? '';
  }
}

/** The letter behind the name, which may hold anything. */
function stateOf(stat: string): string {
  return stat.charAt(stat.lastIndexOf(')') + 2);
}

function readThreadFile(id: string, name: 'stat' | 'schedstat'): string {
  return readKernelFile(`/proc/self/task/${id}/${name}`)?.trim() ?? '';
}
