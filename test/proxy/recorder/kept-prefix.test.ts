import fc from 'fast-check';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { KeptPrefix } from '../../../src/proxy/recorder/body-collector.ts';
import { repeated } from '../../support/long-form.ts';

const KIB = 1_024;

/** Bytes that differ from their neighbours, so that a swapped piece would show. */
const SOURCE = Buffer.alloc(2_000 * KIB);
for (let at = 0; at < SOURCE.length; at += 1) SOURCE[at] = (at * 31 + (at >> 8)) & 0xff;

const bytes = fc.oneof(
  fc.nat(300),
  fc.integer({ min: 0, max: SOURCE.length }),
  fc.constantFrom(256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 512 * KIB, 1_000 * KIB),
);

const cases = fc.record({
  bodyBytes: bytes,
  capBytes: bytes,
  /** What was announced of it, in parts of what comes. */
  announced: fc.option(fc.constantFrom(0.3, 1, 1.5, 4)),
  pieceBytes: fc.constantFrom(700, 4_099, 65_536, 65_512, 300 * KIB),
  budgetBytes: fc.oneof({ weight: 3, arbitrary: fc.constant(64 * KIB * KIB) }, bytes),
});

describe('the kept beginning of a body', () => {
  it('is that of the body, up to the cap and what the budget has room for', () => {
    fc.assert(
      fc.property(cases, ({ bodyBytes, capBytes, announced, pieceBytes, budgetBytes }) => {
        const body = SOURCE.subarray(0, bodyBytes);
        const budget = new AssemblyBudget(budgetBytes);
        const expectedBytes = announced === null ? null : Math.ceil(announced * bodyBytes);
        const kept = new KeptPrefix(capBytes, expectedBytes, budget);
        for (let at = 0; at < bodyBytes; at += pieceBytes) {
          const piece = Buffer.from(body.subarray(at, Math.min(bodyBytes, at + pieceBytes)));
          kept.add(piece);
          piece.fill(0xee);
          // Paid for what is held, and for not much more.
          expect(budget.usedBytes).toBeGreaterThanOrEqual(kept.bytes);
          expect(budget.usedBytes).toBeLessThanOrEqual(2 * kept.bytes + 256 * KIB);
        }
        const refused = budget.usedBytes < budgetBytes && kept.bytes < Math.min(bodyBytes, capBytes);
        expect(kept.cut).toBe(kept.bytes < bodyBytes);
        // Nothing is refused that the budget had room for, blocks being what they are.
        if (refused) expect(budgetBytes - budget.usedBytes).toBeLessThan(Math.max(256 * KIB, pieceBytes));

        const prefix = SOURCE.subarray(0, kept.bytes);
        expect(kept.beginning(1_000).equals(prefix.subarray(0, 1_000))).toBe(true);
        const joined = kept.joined();
        expect(joined.equals(prefix)).toBe(true);
        expect(kept.beginning(1_000).equals(prefix.subarray(0, 1_000))).toBe(true);
        // Whoever keeps it for long does not keep room that nothing is in.
        expect(joined.length).toBe(prefix.length);
        kept.release();
        expect(budget.usedBytes).toBe(0);
      }),
      { numRuns: repeated(50, 200) },
    );
  });

  it('is copied once as it drips in, though the budget is nearly spent', () => {
    const budget = new AssemblyBudget(4_000 * KIB);
    budget.reserve(2_500 * KIB);
    const allocated = vi.spyOn(Buffer, 'allocUnsafe');
    onTestFinished(() => allocated.mockRestore());
    const kept = new KeptPrefix(SOURCE.length, null, budget);
    for (let at = 0; at < SOURCE.length && !kept.cut; at += 700) kept.add(SOURCE.subarray(at, at + 700));

    const sizes = allocated.mock.calls.map(([bytes]) => bytes);
    expect(kept.bytes).toBeGreaterThanOrEqual(1_500 * KIB - 256 * KIB);
    // Six that double, then one for each 256 KiB.
    expect(sizes.length).toBeLessThanOrEqual(12);
    // None was given up for a larger one: all of the memory is what the budget knows of.
    expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBe(budget.usedBytes - 2_500 * KIB);
  });

  it('can still be looked at by whoever was told it before it was put together', () => {
    const kept = new KeptPrefix(SOURCE.length, null, new AssemblyBudget(2 * SOURCE.length));
    kept.add(SOURCE.subarray(0, 64 * KIB));
    const told = kept.beginning(20 * KIB);
    kept.add(SOURCE.subarray(64 * KIB));
    kept.joined();
    expect(told.equals(SOURCE.subarray(0, 20 * KIB))).toBe(true);
  });

  it('of what a length only announces is paid for as it comes', () => {
    const budget = new AssemblyBudget(32 * KIB * KIB);
    const kept = new KeptPrefix(32 * KIB * KIB, 2 ** 40, budget);
    kept.add(SOURCE.subarray(0, 300 * KIB));
    expect(budget.usedBytes).toBeLessThanOrEqual(600 * KIB);
    kept.release();
    expect(budget.usedBytes).toBe(0);
  });
});
