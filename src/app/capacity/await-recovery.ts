import { setTimeout as wait } from 'node:timers/promises';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import type { ReadyWhen } from './options.ts';
import { probe, type StepScene, secondsSince } from './step.ts';

/** A target counts as recovered if its probe takes at most this factor, or this many ms, more than the baseline. */
const SLOWER = 2;
const SLOWER_BY_MS = 20;
/** Pause between two checks. */
const AGAIN_MS = 1_000;
const ANSWER_MS = 5_000;

interface SettleParts {
  readonly scene: StepScene;
  readonly coolDownMs: number;
  /** A condition that must hold; null for none. */
  readonly readyWhen: ReadyWhen | null;
  /** Probe time of the target at rest, milliseconds; null before it is known. */
  readonly baselineMs: number | null;
  /** Whether all answers of the last step came in time, so that no backlog can remain. */
  readonly isAtRest: boolean;
  /** The longest wait after the cool-down. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  /** Called when the target must be waited for, once for each reason. */
  readonly onWaiting: (what: string) => void;
}

export interface Settled {
  readonly isSettled: boolean;
  /** The condition that was not met. */
  readonly missing: 'ready' | 'answers' | 'latency' | null;
  readonly probeMs: number | null;
  readonly tookS: number;
}

/**
 * Brings the target back to the initial state of each step. It is cooled down, ready by its own check, and as fast at
 * rest as before, which shows that no backlog remains.
 * @throws AppError TARGET_FORBIDDEN, and TARGET_UNREACHABLE before a baseline is known
 */
export async function settle(parts: SettleParts): Promise<Settled> {
  const { coolDownMs, baselineMs, patienceMs, signal, onWaiting } = parts;
  const begunNs = systemClock.nowNs();
  await pause(coolDownMs, signal);
  const cooledNs = systemClock.nowNs();
  let said: Settled['missing'] = null;
  for (;;) {
    const { missing, probeMs } = await look(parts);
    const tookS = secondsSince(begunNs);
    if (missing === null || signal.aborted) return { isSettled: missing === null, missing, probeMs, tookS };
    if (secondsSince(cooledNs) * 1e3 + AGAIN_MS > patienceMs)
      return { isSettled: false, missing, probeMs, tookS };
    if (said !== missing) onWaiting(WAITING[missing](probeMs, baselineMs));
    said = missing;
    await pause(AGAIN_MS, signal);
  }
}

const WAITING: Readonly<
  Record<'ready' | 'answers' | 'latency', (probeMs: number | null, baselineMs: number | null) => string>
> = {
  ready: () => 'waiting until --ready-when holds',
  answers: () => 'waiting until the target answers again',
  latency: (probeMs, baselineMs) =>
    `waiting until the target is as fast as at rest (${probeMs?.toFixed(0)} ms, at rest ${baselineMs?.toFixed(0)} ms)`,
};

async function look({
  scene,
  readyWhen,
  baselineMs,
  isAtRest,
  signal,
}: SettleParts): Promise<Pick<Settled, 'missing' | 'probeMs'>> {
  if (readyWhen !== null && !(await isReady(readyWhen, signal))) return { missing: 'ready', probeMs: null };
  if (isAtRest && baselineMs !== null) return { missing: null, probeMs: null };
  const probeMs = await probed(scene, baselineMs !== null, signal);
  if (probeMs === null) return { missing: 'answers', probeMs };
  const most = Math.max((baselineMs ?? probeMs) * SLOWER, (baselineMs ?? probeMs) + SLOWER_BY_MS);
  return { missing: probeMs > most ? 'latency' : null, probeMs };
}

/** Probes the target. Null if it answered before but is unreachable for the moment. */
async function probed(scene: StepScene, wasThere: boolean, signal: AbortSignal): Promise<number | null> {
  try {
    return await probe(scene, signal);
  } catch (thrown) {
    if (wasThere && thrown instanceof AppError && thrown.code === 'TARGET_UNREACHABLE') return null;
    throw thrown;
  }
}

async function isReady(readyWhen: ReadyWhen, signal: AbortSignal): Promise<boolean> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  try {
    if ('promql' in readyWhen) return await readyWhen.prometheus.returns(readyWhen.promql, patience);
    const answer = await fetch(readyWhen.url, { redirect: 'manual', signal: patience });
    await answer.body?.cancel();
    return answer.status === 200;
  } catch {
    // After any error the target counts as not ready.
    return false;
  }
}

/** Ends early if it is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch((thrown: unknown) => {
    if (!signal.aborted) throw thrown;
  });
}
