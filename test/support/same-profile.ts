import { expect } from 'vitest';
import type { ProfileDocument } from '../../src/documents/profile.ts';
import { runCommand } from './command-here.ts';

/** Rounding error of sums in another order. */
const RELATIVE = 1e-9;

/** The document of `reprise profile` without payloads. */
export async function profileOf(capture: string, ...flags: readonly string[]): Promise<ProfileDocument> {
  const done = await runCommand(['profile', capture, '--json', '--payload-sample', '0', ...flags]);
  expect(done, done.stderr).toMatchObject({ status: 0 });
  return JSON.parse(done.stdout) as ProfileDocument;
}

/** Expects equal counts, names and quantiles, and equal means within rounding. The capture's path may differ. */
export function expectSameProfile(made: ProfileDocument, ours: ProfileDocument): void {
  expect(differences({ ...made, capture: null }, { ...ours, capture: null }, '')).toEqual([]);
}

function differences(a: unknown, b: unknown, at: string): string[] {
  if (typeof a === 'number' && typeof b === 'number') {
    const most =
      Number.isInteger(a) && Number.isInteger(b) ? 0 : RELATIVE * Math.max(Math.abs(a), Math.abs(b));
    return Math.abs(a - b) <= most ? [] : [`${at}: ${a} and ${b}`];
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null)
    return a === b ? [] : [`${at}: ${String(a)} and ${String(b)}`];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((key) =>
    differences((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], `${at}.${key}`),
  );
}
