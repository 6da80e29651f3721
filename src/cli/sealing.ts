import { spawn } from 'node:child_process';
import { setPriority } from 'node:os';
import { entryPath } from './entry-url.ts';

/** Yields to the traffic as the recorder does, and to the recorder. */
const NICENESS = 15;

/**
 * Seals finished segments in a short-lived process: checking and hashing a GiB takes a second or more, and
 * neither a heartbeat nor a commit may wait for it.
 * @throws Error with what the sealer said when any of them could not be sealed.
 */
export function sealInOwnProcess(files: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const sealer = spawn(process.execPath, [...process.execArgv, entryPath('sealer'), ...files], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // In a group of its own, Ctrl-C does not reach it: the recording that is stopped waits for its seal.
      detached: true,
    });
    let said = '';
    sealer.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    sealer.on('error', reject);
    sealer.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`the sealer ended with ${code}: ${said.trim()}`));
    });
    yieldProcessor(sealer.pid);
  });
}

/** Best effort: where the host does not allow it, the sealer competes for the processor. */
function yieldProcessor(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICENESS);
  } catch {
    // It may also have ended already.
  }
}
