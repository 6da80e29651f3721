import type { Send } from './run.ts';

/** When a planned fault of a dependency is on. Offsets are nanoseconds after the run's start. */
export interface FaultWindow {
  readonly name: string;
  readonly fromNs: number;
  readonly toNs: number;
  /** End of the time that the target has to recover; `toNs` if no limit is stated. */
  readonly recoveredNs: number;
  /** Whether the window has its own objectives. If so, the run's do not apply in it. */
  readonly isJudgedApart: boolean;
}

/** A request planned at most this long before a fault belongs to it if it is open when the fault begins. */
const IN_FLIGHT_NS = 1e9;

type Timed = Pick<Send, 'intendedOffsetNs' | 'lastByteOffsetNs'>;

/** Whether a request met a fault: it was planned while the fault was on, or in flight when the fault began. */
export function isDuring(
  { fromNs, toNs }: FaultWindow,
  { intendedOffsetNs, lastByteOffsetNs }: Timed,
): boolean {
  if (intendedOffsetNs >= fromNs) return intendedOffsetNs < toNs;
  return fromNs - intendedOffsetNs <= IN_FLIGHT_NS && lastByteOffsetNs !== null && lastByteOffsetNs > fromNs;
}

/** The faults that a request met, by name, and whether the run's own objectives apply to it. */
export function faultsOf(
  windows: readonly FaultWindow[],
  send: Timed,
): { readonly faults: readonly string[]; readonly isOutside: boolean } {
  const met = windows.filter((window) => isDuring(window, send));
  const isRecovering = windows.some(
    ({ toNs, recoveredNs }) => send.intendedOffsetNs >= toNs && send.intendedOffsetNs < recoveredNs,
  );
  return {
    faults: met.map(({ name }) => name),
    isOutside: !isRecovering && !met.some(({ isJudgedApart }) => isJudgedApart),
  };
}
