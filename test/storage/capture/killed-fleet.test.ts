import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LifeAccount } from '../../../src/core/accounting.ts';
import { SeededRandom } from '../../../src/core/random.ts';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import type { InspectDocument } from '../../../src/storage/capture/inspect.ts';
import { newCapture } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';
import { type LifeParts, live } from '../../support/lives.ts';
import { repeated } from '../../support/long-form.ts';

const HOUR_US = 3_600_000_000;
const KILLED = { ended: false, turnsAhead: 32 };

let shared: string | undefined;

/** The fleet of most tests, which only read it. */
function fleet(): string {
  shared ??= fleetWith(KILLED);
  return shared;
}

/** A fleet of four over eight hours: one whole, one late, one that was killed after two hours, and one not here. */
function fleetWith(account: Partial<LifeAccount>): string {
  const directory = newCapture();
  const member = (parts: Pick<LifeParts, 'id' | 'hours' | 'startHour' | 'account'>, end = true) =>
    live({ perHour: 100, fleetSize: 4, directory, account: {}, ...parts }, end);
  member({ id: 'whole', hours: 8 });
  member({ id: 'late', hours: 5, startHour: 3 });
  member({ id: 'killed', hours: 2, account }, false);
  return directory;
}

async function inspect(directory: string): Promise<InspectDocument> {
  const { stdout } = await runCommand(['inspect', directory, '--json']);
  return JSON.parse(stdout) as InspectDocument;
}

interface Plan {
  readonly coverage: number | null;
  readonly coverageIsAtLeast: boolean;
  readonly planned: number;
  readonly effectiveMultiplier: number | null;
  readonly notes: readonly { readonly code: string }[];
}

async function plan(directory: string, ...args: readonly string[]): Promise<{ json: Plan; text: string }> {
  const command = ['replay', directory, '--multiplier', '2', '--dry-run', ...args];
  const { stdout } = await runCommand([...command, '--json']);
  const { stdout: text } = await runCommand(command);
  return { json: JSON.parse(stdout) as Plan, text };
}

describe.each(repeated([1], [1, 2, 3]))(
  'a fleet of four with one missing, one killed and one late, seed %i',
  (seed) => {
    const HOURS = 8;
    const random = new SeededRandom(seed);
    const below = (most: number) => random.nextUint32() % most;
    const [lateAt, killedAt] = [1 + below(4), 3 + below(4)];
    /** The client's own log: when each request was sent, and beside which recorder it was served. */
    const log = Array.from({ length: 6_000 }, () => {
      const member = (['whole', 'late', 'killed', 'gone'] as const)[below(4)] ?? 'whole';
      return { atUs: TEST_EPOCH_US + below(HOURS * 3_600) * 1_000_000, member };
    }).sort((a, b) => a.atUs - b.atUs);
    const servedIn = (member: string, fromHour: number, toHour: number) =>
      log.filter(
        ({ atUs, member: by }) =>
          by === member &&
          atUs >= TEST_EPOCH_US + fromHour * HOUR_US &&
          atUs < TEST_EPOCH_US + toHour * HOUR_US,
      );

    function capture(): string {
      const directory = newCapture();
      const member = (
        id: string,
        fromHour: number,
        toHour: number,
        account: Partial<LifeAccount>,
        end = true,
      ) => {
        const exchangesOf = (hour: number) =>
          servedIn(id, fromHour + hour, fromHour + hour + 1).map(({ atUs }) =>
            exchangeOf({ arrivalUs: atUs }),
          );
        const parts = { id, directory, startHour: fromHour, hours: toHour - fromHour, fleetSize: 4 };
        live({ ...parts, account, exchangesOf }, end);
      };
      member('whole', 0, HOURS, {});
      member('late', lateAt, HOURS, {});
      member('killed', 0, killedAt, KILLED, false);
      member('gone', 0, HOURS, {});
      for (const { path } of segmentsOf(directory).filter(({ recorder }) => recorder === 'gone')) {
        for (const suffix of ['', '.manifest.json']) rmSync(`${path}${suffix}`, { force: true });
      }
      return directory;
    }

    it('has the coverage, the plan and the names of what is missing that the client counts', async () => {
      const directory = capture();
      const held = log.length - servedIn('gone', 0, HOURS).length - servedIn('late', 0, lateAt).length;
      const here = held - servedIn('killed', killedAt, HOURS).length;
      const truth = here / log.length;
      const document = await inspect(directory);
      expect(document.exchanges).toBe(here);
      expect(Math.abs((document.coverage ?? 0) - truth)).toBeLessThan(0.02);
      expect(document.coverageAtLeast).toBeLessThan(document.coverage ?? 0);
      expect(Math.abs((document.coverageAtLeast ?? 0) - truth)).toBeLessThan(0.02);
      expect(document.missing.exchanges).toBe(servedIn('gone', 0, HOURS).length);
      const gone = document.recorders.filter(({ segments }) => segments === 0);
      expect(gone).toMatchObject([{ id: 'gone', gaps: [{ kind: 'missing' }] }]);
      expect(document.killed).toMatchObject([{ life: 'killed', uncountedAtMost: 32 }]);
      const late = document.recorders.find(({ id }) => id === 'late');
      expect(Date.parse(late?.startedAt ?? '') * 1e3).toBe(TEST_EPOCH_US + lateAt * HOUR_US);
      const { json } = await plan(directory);
      expect(json.coverageIsAtLeast).toBe(true);
      expect(Math.abs(json.planned / log.length - 1)).toBeLessThan(0.05);
    });
  },
);

describe('a fleet of which one recorder was killed', () => {
  it('counts it as absent from its last account on, and not to the end of the capture', async () => {
    const { coverage, coverageAtLeast, coverageIsAtMost, missing, killed } = await inspect(fleet());
    // 1,500 of the 3,200 that four recorders saw in eight hours.
    expect(coverage).toBeCloseTo(1_500 / 3_200, 2);
    expect(coverageAtLeast).toBeLessThan(coverage ?? 0);
    expect(coverageAtLeast).toBeGreaterThan(1_450 / 3_200);
    expect({ coverageIsAtMost, missing }).toEqual({
      coverageIsAtMost: true,
      missing: { exchanges: 0, recorders: 2 },
    });
    expect(killed).toMatchObject([{ life: 'killed' }]);
  });

  it('is planned by the lower bound, which the plan and its document say', async () => {
    const directory = fleet();
    const { coverageAtLeast } = await inspect(directory);
    const { json, text } = await plan(directory);
    expect(json.coverage).toBeCloseTo(coverageAtLeast ?? 0, 6);
    expect(json.coverageIsAtLeast).toBe(true);
    expect(json.effectiveMultiplier).toBeCloseTo(2, 1);
    expect(json.planned / (1_500 / (coverageAtLeast ?? 1))).toBeCloseTo(1, 1);
    expect(json.notes).toMatchObject([{ code: 'coverage_assumed' }]);
    expect(text.split('\n').slice(0, 3).join('\n')).toContain('lower bound');
  });

  it('is planned as it is held if no bound is known, which the plan says too', async () => {
    const { json, text } = await plan(fleetWith({ ended: false, turnsAhead: null }));
    expect(json).toMatchObject({ coverage: null, coverageIsAtLeast: false, effectiveMultiplier: null });
    expect(json.planned).toBe(1_500);
    expect(json.notes).toMatchObject([{ code: 'coverage_assumed' }]);
    expect(text.split('\n').slice(0, 3).join('\n')).toContain('unknown');
  });

  it.each([
    ['whole', 1, false],
    ['late', 1, false],
    ['killed', 200 / 232, true],
  ])('has a coverage of its own for each recorder: %s', async (id, coverage, isAtLeast) => {
    const { json } = await plan(fleet(), '--filter', `recorder=${id}`);
    expect(json.coverage).toBeCloseTo(coverage, 6);
    expect(json.coverageIsAtLeast).toBe(isAtLeast);
  });

  it('does not lower the coverage of windows that ended before', async () => {
    const iso = (hours: number) => new Date((TEST_EPOCH_US + hours * HOUR_US) / 1000).toISOString();
    const { json } = await plan(fleet(), '--window', `${iso(0)}..${iso(1)}`);
    expect(json).toMatchObject({ coverageIsAtLeast: false, coverage: expect.closeTo(0.5, 2) });
  });
});
