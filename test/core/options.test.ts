import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { AppError } from '../../src/core/errors.ts';
import {
  byProgram,
  choice,
  list,
  listOf,
  longNamesOf,
  resolveOptions,
  structure,
  switchOrValue,
  text,
  toggle,
  value,
} from '../../src/core/options.ts';
import { parseBytes, parseCount, parseDurationMs } from '../../src/core/units.ts';

const SHAPE = {
  maxDisk: value('--max-disk <size>', 'quota', parseBytes),
  timeout: value('--timeout <time>', 'limit', parseDurationMs, { default: '5s' }),
  dir: text('--dir <directory>', 'where', { required: true }),
  mode: choice('--mode <plane>', 'how', ['wire', '502'], { default: 'wire' }),
  counts: listOf('--count <n>', 'numbers', parseCount, { default: ['1', '2'] }),
  skip: list('--skip <rule>', 'left out'),
  check: switchOrValue('--check [level]', 'compare', (level) => level, 'structure'),
  json: toggle('--json', 'JSON'),
  routes: structure(z.array(z.strictObject({ path: z.string() })), 'routes'),
};

/** Of an error: its code, and what it says line by line. */
function refusal(stated: object): { code: string; lines: string[]; hint: string | null } {
  try {
    resolveOptions(SHAPE, byProgram(SHAPE, stated));
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    return { code: thrown.code, lines: thrown.message.split('\n'), hint: thrown.hint };
  }
  throw new Error('nothing was refused');
}

describe('options', () => {
  test('have what was stated, else their default, else nothing', () => {
    expect(resolveOptions(SHAPE, byProgram(SHAPE, { dir: '/rec' }))).toEqual({
      maxDisk: null,
      timeout: 5_000,
      dir: '/rec',
      mode: 'wire',
      counts: [1, 2],
      skip: [],
      check: null,
      json: false,
      routes: null,
    });
    const stated = {
      maxDisk: '2KiB',
      timeout: '1m',
      dir: '/rec',
      mode: 502,
      counts: 7,
      skip: ['a', 'b'],
      check: true,
      json: true,
      routes: [{ path: '/a' }],
    };
    expect(resolveOptions(SHAPE, byProgram(SHAPE, stated))).toEqual({
      ...stated,
      maxDisk: 2_048,
      timeout: 60_000,
      mode: '502',
      counts: [7],
      check: 'structure',
    });
  });

  test('are refused all at once, each by the name of its flag', () => {
    const { code, lines, hint } = refusal({
      maxDisk: 'much',
      mode: 'gateway',
      counts: ['0', '3', 'x'],
      routes: [{ path: '/a' }, { path: 1 }],
    });
    expect(code).toBe('OPTION_INVALID');
    expect(lines.map((line) => line.split(/[: ]/)[0])).toEqual([
      '--max-disk',
      '--dir',
      '--mode',
      '--count',
      '--count',
      'routes[1].path',
    ]);
    expect(hint).toContain('Units');
  });

  test('name the place of what is wrong, if it is none of the command line', () => {
    const asked = {
      stated: { dir: '/rec', timeout: 'soon' },
      originOf: () => ({ kind: 'file', place: 'reprise.yaml:3' }) as const,
    };
    expect(() => resolveOptions(SHAPE, asked)).toThrow(/^--timeout: .*\(reprise\.yaml:3\)$/);
  });

  test('refuse the empty name of a file or directory, which an unset variable leaves', () => {
    expect(refusal({ dir: '' }).lines).toEqual(['--dir: the name of the directory is empty']);
    const allowing = { dir: text('--dir <directory>', 'where', { mayBeEmpty: true }) };
    expect(resolveOptions(allowing, byProgram(allowing, { dir: '' }))).toEqual({ dir: '' });
  });

  test('that are required refuse an empty list, and not the default', () => {
    const shape = { listen: list('--listen <address>', 'where', { default: [':8080'], required: true }) };
    expect(resolveOptions(shape, byProgram(shape, {}))).toEqual({ listen: [':8080'] });
    expect(() => resolveOptions(shape, byProgram(shape, { listen: [] }))).toThrow(
      '--listen: the list is empty',
    );
    const bare = { target: list('--target <url>', 'x', { required: true }) };
    expect(() => resolveOptions(bare, byProgram(bare, {}))).toThrow('--target is missing');
    expect(() => byProgram(bare, { tarket: 'x' } as object)).toThrow('there is no option tarket');
  });
});

test('a flag is known by the last of its names', () => {
  expect(longNamesOf('--md, --markdown [file]')).toEqual(['--markdown', '--md']);
});
