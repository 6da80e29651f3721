import { closeSync, fstatSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Clock } from '../core/clock.ts';
import { InFlight } from './in-flight.ts';
import { LaunchPad } from './launch-pad.ts';
import { Launcher, type WriteNow } from './launcher.ts';

const LAUNCHES = 2_000;
const BYTES = 1_024;

/**
 * Launches some requests into nothing. Code that runs for the first time takes a tenth of a millisecond where it later
 * takes microseconds: without this the first ten launches of every run would be late by as much.
 */
export function rehearseLaunches(clock: Clock, write: WriteNow): void {
  const fd = openSync(devNull, 'w');
  try {
    const { ino: inode } = fstatSync(fd);
    const pad = LaunchPad.create(1);
    const inFlight = InFlight.create({ maxRequests: 2, maxBodyBytes: 2 * BYTES });
    const launcher = new Launcher(pad, 1, inFlight, clock, write);
    for (let order = 0; order < LAUNCHES; order += 1) {
      pad.layOut(0, order, { fd, inode, bytes: BYTES, bodyBytes: BYTES, tells: false });
      launcher.pass(0);
      launcher.launch(0);
      if (pad.endOf(0, order)?.kind === 'launched') {
        inFlight.leave();
        inFlight.leaveBody(BYTES);
      }
      pad.clear(0, order);
    }
  } finally {
    closeSync(fd);
  }
}
