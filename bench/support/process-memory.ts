import { readdirSync, readFileSync } from 'node:fs';

/** Memory and descriptors of a process now. Linux only. */
export interface ProcessHolding {
  readonly residentBytes: number;
  readonly descriptors: number;
}

export function holdingOf(pid: number): ProcessHolding {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    residentBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}
