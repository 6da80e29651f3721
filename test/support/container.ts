import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';

/** Limits like those of a container, by control groups of version 1. Needs root. */
export class Container {
  readonly #memory: string;
  readonly #cpu: string;

  constructor(cpus: number, memoryBytes: number) {
    const name = `reprise-test-${process.pid}`;
    this.#memory = join(ROOT, 'memory', name);
    this.#cpu = join(ROOT, 'cpu', name);
    for (const group of this.groups) mkdirSync(group);
    writeFileSync(join(this.#memory, 'memory.limit_in_bytes'), String(memoryBytes));
    writeFileSync(join(this.#cpu, 'cpu.cfs_period_us'), '100000');
    writeFileSync(join(this.#cpu, 'cpu.cfs_quota_us'), String(cpus * 100_000));
  }

  get groups(): readonly string[] {
    return [this.#memory, this.#cpu];
  }

  /** Peak memory, including the page cache, which the kernel reclaims before it kills a process. */
  get peakBytes(): number {
    return Number(readFileSync(join(this.#memory, 'memory.max_usage_in_bytes'), 'utf8'));
  }

  /** Number of processes that the kernel killed because of the memory limit. */
  get killed(): number {
    const text = existsSync(join(this.#memory, 'memory.oom_control'))
      ? readFileSync(join(this.#memory, 'memory.oom_control'), 'utf8')
      : '';
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  remove(): void {
    for (const group of this.groups) spawnSync('rmdir', [group]);
  }
}
