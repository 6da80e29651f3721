import { randomBytes } from 'node:crypto';
import { systemClock } from '../core/clock.ts';
import { formatInstantUs } from '../core/units.ts';

/** Sorts by time, and two runs of one second differ. */
export function newRunId(): string {
  const time = formatInstantUs(systemClock.epochUs()).slice(0, 19).replaceAll(/[-:]/g, '');
  return `${time}Z-${randomBytes(3).toString('hex')}`;
}
