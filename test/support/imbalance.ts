import type { RecorderStatus } from '../../src/core/accounting.ts';

/** The difference of the account's two sides. Both numbers must be 0 at every instant. */
export function imbalance(
  reading: Pick<RecorderStatus, 'seen' | 'recorded' | 'lost' | 'omitted' | 'pending'>,
): { bytes: number; turns: number } {
  const parts = [
    reading.recorded,
    reading.pending,
    ...Object.values(reading.lost),
    ...Object.values(reading.omitted),
  ];
  return {
    bytes: reading.seen.bytes - parts.reduce((sum, part) => sum + part.bytes, 0),
    turns: reading.seen.turns - parts.reduce((sum, part) => sum + part.turns, 0),
  };
}
