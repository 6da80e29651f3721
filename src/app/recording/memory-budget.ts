import { LIMITS } from '../../core/limits.ts';
import { KIB, MIB } from '../../core/units.ts';
import { type HostLimits, readHostLimits } from '../../monitors/host.ts';

/** Memory of a connection whose reader has stopped reading. */
const CONNECTION_BYTES = 64 * KIB;
/** The lowest memory limit in which a recording works, without its connections. */
const LEAST_BYTES = 192 * MIB;

/**
 * Memory limits for the parts of a recording. One control group contains both processes, and the kernel kills all of it
 * if it exceeds its limit. So our own limits, which cost recordings but no requests, are well below it.
 */
interface MemoryBudget {
  /** Data that waits for the recorder. */
  readonly queueBytes: number;
  /** Bodies of open exchanges. */
  readonly assemblyBytes: number;
  /** The recorder's heap for old objects. With a smaller heap, V8 collects garbage earlier. */
  readonly recorderHeapMib: number;
  /** Resident memory of the recorder. Above it the proxy ends the recorder. */
  readonly recorderBytes: number;
}

/** Shares of this process's memory limit. The full budget if there is no limit, or a large one. */
export function memoryBudget({ memoryBytes, memoryLimited }: HostLimits = readHostLimits()): MemoryBudget {
  const limit = memoryLimited ? Math.max(memoryBytes, LEAST_BYTES) : Number.POSITIVE_INFINITY;
  return {
    queueBytes: Math.min(LIMITS.queueBytes, limit / 8),
    assemblyBytes: Math.min(LIMITS.assemblyBudgetBytes, limit / 8),
    recorderHeapMib: Math.min(LIMITS.recorderHeapMib, Math.floor(limit / 4 / MIB)),
    recorderBytes: Math.min(LIMITS.recorderResidentBytes, (limit * 5) / 8),
  };
}

/** The lowest memory limit for this number of connections. */
export function leastMemoryBytes(connections: number): number {
  return LEAST_BYTES + connections * CONNECTION_BYTES;
}
