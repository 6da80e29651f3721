import { WIRE } from '../../src/core/limits.ts';
import { afterwards } from '../support/leftovers.ts';

/** Shortens one of the wire's time-outs until the test ends. */
export function shorten(name: keyof typeof WIRE, ms: number): void {
  const limits = WIRE as { -readonly [Name in keyof typeof WIRE]: number };
  const before = limits[name];
  limits[name] = ms;
  afterwards(() => {
    limits[name] = before;
  });
}
