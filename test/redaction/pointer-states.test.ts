import { describe, expect, it } from 'vitest';
import type { Treatment } from '../../src/redaction/body-rules.ts';
import { PointerState } from '../../src/redaction/pointer-states.ts';

const rule = (name: string): Treatment => ({ covering: 'mask', strength: 1, name });

describe('a pointer state', () => {
  it('follows all rules at once', () => {
    const root = PointerState.root([rule('/a/*/b'), rule('/*/0'), rule('/a/x')]);
    expect(root.member('a').member('0').treatment?.name).toBe('/*/0');
    expect(root.member('a').member('0').member('b').treatment?.name).toBe('/a/*/b');
    expect(root.member('a').member('x').treatment?.name).toBe('/a/x');
    expect(root.member('z').member('0').treatment?.name).toBe('/*/0');
    expect(root.member('z').member('1').idle).toBe(true);
    expect(root.member('z').member('0').member('b').treatment).toBeNull();
  });

  it('is made once for each place', () => {
    const root = PointerState.root([rule('/a/*/b')]);
    expect(root.member('a').other()).toBe(root.member('A').member('anything'));
  });

  it('stays bounded in memory for rules whose combinations are without number', () => {
    // At each of 24 levels a document takes one of two names: 2^24 combinations of rules that still apply.
    const rules = Array.from({ length: 24 }, (_, level) =>
      rule(`${'/*'.repeat(level)}/a${'/*'.repeat(23 - level)}/end`),
    );
    const root = PointerState.root(rules);
    for (let path = 0; path < 2_000; path += 1) {
      let state = root;
      for (let level = 0; level < 24; level += 1)
        state = state.member((path * 7919) & (1 << level) ? 'a' : 'b');
      expect(state.member('end').treatment === null).toBe(path * 7919 === 0);
    }
  });
});
