import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isNear, jsonDifference, pointerOf } from '../../../src/replay/check/compare-json.ts';
import { Places } from '../../../src/replay/check/compared-fields.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { repeated } from '../../support/long-form.ts';

const tolerance = CHECK_TOLERANCE;
const NOTHING = new Places([]).root('v1', []);

function difference(recorded: unknown, answered: unknown, root = NOTHING, values = true) {
  return jsonDifference(recorded, answered, root, { values, tolerance });
}

/** As a document would be read: -0 is written as 0. */
const documents = fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);

type Path = (string | number)[];

function leavesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([name, inner]) =>
    leavesOf(inner, [...path, Array.isArray(value) ? Number(name) : name]),
  );
}

/** The document with one leaf changed, and everything else as it was. */
function withChanged(value: unknown, path: Path, change: (leaf: unknown) => unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return change(value);
  if (Array.isArray(value))
    return value.map((inner, at) => (at === step ? withChanged(inner, rest, change) : inner));
  return Object.fromEntries(
    Object.entries(value as object).map(([name, inner]) => [
      name,
      name === step ? withChanged(inner, rest, change) : inner,
    ]),
  );
}

/** Another value of the same type, out of any tolerance; another type where a type has but one value. */
function changed(leaf: unknown): unknown {
  if (typeof leaf === 'string') return `${leaf}~`;
  if (typeof leaf === 'number') return Math.abs(leaf) < 1 ? leaf + 1 : leaf / 2;
  return typeof leaf === 'boolean' ? !leaf : 'not null';
}

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, inner]) => [name, reversed(inner)]),
  );
}

describe('the difference of two documents', () => {
  test('is none for a document and itself, whatever the order of its members', () => {
    fc.assert(
      fc.property(documents, (document) => {
        expect(difference(document, reversed(document))).toEqual({
          kind: null,
          pointer: null,
          masked: false,
        });
      }),
      { numRuns: repeated(75, 300) },
    );
  });

  test('is found wherever one leaf is changed, and its place is told', () => {
    fc.assert(
      fc.property(documents, fc.nat(), (document, draw) => {
        const leaves = leavesOf(document);
        fc.pre(leaves.length > 0);
        const path = leaves[draw % leaves.length] as Path;
        const found = difference(document, withChanged(document, path, changed));
        expect(found.kind).not.toBeNull();
        expect(found.pointer).toBe(pointerOf(path));
      }),
      { numRuns: repeated(75, 300) },
    );
  });

  test('is of the shape before it is of a value', () => {
    expect(difference({ a: 1, b: [1, 2] }, { a: 2, b: [1] })).toMatchObject({ kind: 'shape', pointer: '/b' });
    expect(difference({ a: 1, b: 2 }, { a: 2 })).toMatchObject({ kind: 'shape', pointer: '/b' });
    expect(difference({ a: 1 }, { a: 1, b: null })).toMatchObject({ kind: 'shape', pointer: '/b' });
    expect(difference({ a: null }, { a: 0 })).toMatchObject({ kind: 'shape', pointer: '/a' });
    expect(difference({ a: 1 }, { a: 2 })).toMatchObject({ kind: 'values', pointer: '/a' });
    expect(difference({ a: 1 }, { a: 2 }, NOTHING, false).kind).toBeNull();
    // No member of its own, whatever all objects inherit.
    expect(difference(JSON.parse('{"toString":1}'), {}).kind).toBe('shape');
  });

  test('is none where it is ignored, with * for any member, be it there or not', () => {
    const root = new Places(['/items/*/at', '/meta']).root('v2', []);
    const recorded = {
      id: 'a',
      meta: { x: 1 },
      items: [
        { at: 1, v: 1 },
        { at: 2, v: 2 },
      ],
    };
    expect(difference(recorded, { items: [{ v: 1 }, { at: 'x', v: 2 }] }, root).kind).toBeNull();
    expect(difference(recorded, { items: [{ v: 1 }, { at: 2, v: 3 }] }, root)).toMatchObject({
      kind: 'values',
      pointer: '/items/1/v',
    });
  });

  test('is none where the recorded value was masked, which is told', () => {
    const root = new Places([]).root('other', ['/text', '/list/*/name']);
    const recorded = { text: 'words', list: [{ name: 'more words', n: 1 }] };
    expect(difference(recorded, { text: 'secret', list: [{ name: 'x', n: 1 }] }, root)).toEqual({
      kind: null,
      pointer: null,
      masked: true,
    });
    expect(difference(recorded, { text: 'secret', list: [{ name: 'x', n: 2 }] }, root)).toMatchObject({
      kind: 'values',
      pointer: '/list/0/n',
    });
    const unmasked = new Places(['/text']).root('other', ['/text']);
    expect(difference({ text: 'words' }, { text: 'secret' }, unmasked).masked).toBe(false);
  });

  test('is given up where documents nest too deep to be followed', () => {
    const deep = JSON.parse(`${'['.repeat(500)}${']'.repeat(500)}`) as unknown;
    expect(() => difference(deep, deep)).toThrow('too_deep');
  });
});

describe('a pointer that is told', () => {
  test('has names that programmers give, and nothing that may be payload', () => {
    expect(pointerOf(['outputs', 0, 'data_2', 17])).toBe('/outputs/0/data_2/17');
    expect(pointerOf(['users', 'alice@example.org', 'sk-planted-4711', 'x/y', 'scores'])).toBe(
      '/users/*/*/*/scores',
    );
    expect(pointerOf(['Alice-Smith', 'sk-abcDEFghiJKLmnoPQRstuVWX', 'ALICE', 'finishReason'])).toBe(
      '/*/*/*/finishReason',
    );
    expect(pointerOf([])).toBe('');
  });
});

describe('numbers', () => {
  test.each([
    [1, 1 + 1e-5, true],
    [1, 1 + 1.1e-5, false],
    [0, 1e-8, true],
    [0, 1.1e-8, false],
    [-0.5, 0.5, false],
    [100.5, 100.501, true],
    [100.5, 100.502, false],
    // Whole numbers are indices, counts and ids.
    [1_000_000, 1_000_001, false],
    [3, 3.00001, true],
    [Number.NaN, Number.NaN, true],
    [Number.NaN, 1.5, false],
    [Number.POSITIVE_INFINITY, Number.MAX_VALUE, false],
    [0, -0, true],
  ])('%d and %d: near is %s', (one, other, near) => {
    expect(isNear(one, other, tolerance)).toBe(near);
    expect(isNear(other, one, tolerance)).toBe(near);
  });
});
