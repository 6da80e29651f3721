import { expect } from 'vitest';
import type { RecordingProcess } from '../support/recording.ts';

interface Tally {
  readonly bytes: number;
  readonly turns: number;
}

/**
 * Checks a recording after hostile traffic: no process died, and every byte is accounted for.
 * @returns the number of recorded exchanges, and of turns that were left out as unreadable
 */
export async function expectUnharmed(
  recording: RecordingProcess,
): Promise<{ exchanges: number; unparsedTurns: number }> {
  const children = recording.children();
  const { status, log, end } = await recording.stop();
  expect(status).toBe(0);
  // Only one start, so the recorder did not die and was not replaced.
  expect(log.filter(({ message }) => message === 'recorder started')).toHaveLength(1);
  expect(recording.children()).toEqual(children);
  expect(log.filter(({ level }) => level === 'error')).toEqual([]);
  const sum = (tallies: unknown): Tally =>
    Object.values(tallies as Record<string, Tally>).reduce(
      (total, { bytes, turns }) => ({ bytes: total.bytes + bytes, turns: total.turns + turns }),
      { bytes: 0, turns: 0 },
    );
  const { seen, recorded, lost, omitted, pending } = end;
  expect(pending).toEqual({ bytes: 0, turns: 0 });
  expect(lost).toEqual({});
  expect(sum({ recorded, omitted: sum(omitted) })).toEqual(seen);
  const { unparsed } = omitted as Record<string, Tally | undefined>;
  return { exchanges: end['exchanges'] as number, unparsedTurns: unparsed?.turns ?? 0 };
}
