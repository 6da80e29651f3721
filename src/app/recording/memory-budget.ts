import { LIMITS } from '../../core/limits.ts';
import { KIB, MIB } from '../../core/units.ts';
import { type HostLimits, readHostLimits } from '../../monitors/host.ts';

/** Memory of a connection whose reader has stopped. */
const CONNECTION_BYTES = 64 * KIB;
/** The least limit that a recording works in, before its connections. */
const LEAST_BYTES = 192 * MIB;

/**
 * What the parts of a recording may hold. One control group has both processes, and the kernel ends all of it where
 * it outgrows its limit. So our own bounds, which cost recordings and no request, bite well below the limit.
 */
interface MemoryBudget {
  /** What waits for the recorder. */
  readonly queueBytes: number;
  /** Bodies of exchanges that are open. */
  readonly assemblyBytes: number;
  /** The recorder's heap of old objects. With less of it, V8 collects sooner. */
  readonly recorderHeapMib: number;
  /** Resident memory of the recorder; the proxy ends a recorder that passes it. */
  readonly recorderBytes: number;
}

/** Shares of the limit that this process has; the full bounds where it has none, or a large one. */
export function memoryBudget({ memoryBytes, memoryLimited }: HostLimits = readHostLimits()): MemoryBudget {
  const limit = memoryLimited ? Math.max(memoryBytes, LEAST_BYTES) : Number.POSITIVE_INFINITY;
  return {
    queueBytes: Math.min(LIMITS.queueBytes, limit / 8),
    assemblyBytes: Math.min(LIMITS.assemblyBudgetBytes, limit / 8),
    recorderHeapMib: Math.min(LIMITS.recorderHeapMib, Math.floor(limit / 4 / MIB)),
    recorderBytes: Math.min(LIMITS.recorderResidentBytes, (limit * 5) / 8),
  };
}

/** The least memory limit for this many connections. */
export function leastMemoryBytes(connections: number): number {
  return LEAST_BYTES + connections * CONNECTION_BYTES;
}
