import { type ControlGroup, controlGroupOf } from './control-group.ts';
import { type ReadKernelFile, readKernelFile } from './kernel-file.ts';

/** How often, and for how long, a group was held back so far: times, and µs (version 2) or ns (version 1). */
const COUNTERS = /^(?:nr_throttled|throttled_usec|throttled_time) (\d+)$/gm;

/** Tells whether a CPU quota of our control group, or of one around it, held its processes back since it was made. */
export class CpuThrottle {
  readonly #read: ReadKernelFile;
  readonly #group: ControlGroup | null;
  readonly #before: readonly number[] | null;

  constructor(read: ReadKernelFile = readKernelFile) {
    this.#read = read;
    this.#group = controlGroupOf('cpu', read);
    this.#before = this.#counters();
  }

  /** Null where the host does not say: no control group in sight, no counters, or another group than before. */
  throttled(): boolean | null {
    const before = this.#before;
    const now = this.#counters();
    if (before === null || now === null || now.length !== before.length) return null;
    if (now.some((count, nth) => count > (before[nth] as number))) return true;
    const isMoved = controlGroupOf('cpu', this.#read)?.directories[0] !== this.#group?.directories[0];
    return isMoved ? null : false;
  }

  #counters(): readonly number[] | null {
    const [own, ...around] = (this.#group?.directories ?? []).map((directory) =>
      this.#read(`${directory}/cpu.stat`),
    );
    // Every group has the file, if only with times: where ours has none, what is around it is not ours.
    if (typeof own !== 'string') return null;
    const texts = [own, ...around].join('\n');
    const counts = [...texts.matchAll(COUNTERS)].map(([, count]) => Number(count));
    return counts.length === 0 ? null : counts;
  }
}
