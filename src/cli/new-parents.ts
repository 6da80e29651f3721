import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncPath } from '../storage/durable-files.ts';

/** The directories that had to be made (0700) so that something can lie in the innermost of them. */
export class NewParents {
  /** Outermost first. */
  readonly #made: string[] = [];

  /** @throws what the file system says where one cannot be made; none is left then */
  constructor(innermost: string) {
    try {
      for (const path of missingUpTo(innermost)) {
        // What somebody else made meanwhile is not ours to take away.
        if (mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined) this.#made.push(path);
      }
    } catch (thrown) {
      this.remove();
      throw thrown;
    }
  }

  /** Makes them last, once something lies in them. */
  sync(): void {
    for (const path of this.#made) syncPath(dirname(path));
  }

  /** Takes them away again, as far as nobody put anything into them. */
  remove(): void {
    for (const path of this.#made.splice(0).reverse()) {
      try {
        rmdirSync(path);
      } catch {
        return;
      }
    }
  }
}

/** Outermost first. */
function missingUpTo(innermost: string): string[] {
  const missing: string[] = [];
  for (let path = innermost; statSync(path, { throwIfNoEntry: false }) === undefined; path = dirname(path)) {
    missing.unshift(path);
  }
  return missing;
}
