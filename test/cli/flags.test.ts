import type { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { insteadOf, REMOVED } from '../../src/cli/config/removed.ts';
import { shapeOf } from '../../src/cli/options.ts';
import { everyCommand } from '../../src/cli/program.ts';
import { longNamesOf, part, partList, partSwitch, partsOf, textsOf } from '../../src/core/options.ts';
import { parseCount } from '../../src/core/units.ts';
import { runReprise } from '../support/process.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let commands: readonly Command[] = [];
beforeAll(async () => {
  commands = await everyCommand(COMMANDS);
});

function flagsOf(name: string): string[] {
  const command = commands.find((each) => each.name() === name);
  if (command === undefined) throw new Error(`there is no command ${name}`);
  return Object.values(shapeOf(command)).flatMap((type) => longNamesOf(textsOf(type).flags ?? ''));
}

test.each([
  ['replay', 54],
  ['capacity', 48],
  ['record', 40],
])('%s has at most %i flags', (name, most) => {
  expect(flagsOf(name).length).toBeLessThanOrEqual(most);
  expect(flagsOf(name).length).toBeGreaterThan(most / 2);
});

test('no flag has a second long name', () => {
  const all = commands.flatMap((command) =>
    Object.values(shapeOf(command)).map((type) => textsOf(type).flags ?? ''),
  );
  expect(all.filter((flags) => longNamesOf(flags).length > 1)).toEqual([]);
});

describe('a flag that was removed', () => {
  test('is gone, and what is typed in its place is there', () => {
    for (const { of, flags } of REMOVED) {
      for (const name of of) {
        const known = flagsOf(name);
        for (const [flag, instead] of Object.entries(flags)) {
          expect(known, `${name} ${flag}`).not.toContain(flag);
          if (instead !== null) expect(known, `${name} ${flag}`).toContain(instead.split(' ')[0]);
        }
      }
    }
  });

  const EACH = REMOVED.flatMap(({ of, flags }) =>
    Object.entries(flags).map(([flag, instead]) => [of[0] as string, flag, instead] as const),
  );
  test.each(EACH)('%s %s is answered with %s', (command, flag, instead) => {
    expect(insteadOf(command, flag)).toContain(instead ?? 'leave it out');
  });

  const cwd = temporaryDirectory();
  test.each([
    ['a flag', ['replay', 'x', '--connect-timeout', '1s'], {}],
    ['a flag with its value', ['replay', 'x', '--connect-timeout=1s'], {}],
    ['a variable', ['replay', 'x'], { REPRISE_CONNECT_TIMEOUT: '1s' }],
  ])('exits with 2: %s', async (_, args, env) => {
    const { status, stdout, stderr } = await runReprise(args, { cwd, env });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/ {2}hint: .*--timeout connect=TIME/);
  });
});

describe('a value with parts', () => {
  const read = partsOf(
    {
      total: part(parseCount, '9'),
      firstByte: part(parseCount),
      ignore: partList((text) => text),
      loud: partSwitch(),
    },
    'total',
  );

  test.each([
    ['1', { total: 1 }],
    ['1,first-byte=2', { total: 1, firstByte: 2 }],
    [' first-byte = 2 , total = 3', { total: 3, firstByte: 2 }],
    ['ignore=/a,ignore=/b', { ignore: ['/a', '/b'] }],
    ['ignore=a,b,first-byte=2', { ignore: ['a,b'], firstByte: 2 }],
    ['ignore=a=b', { ignore: ['a=b'] }],
    ['loud', { loud: true }],
    ['1,loud', { total: 1, loud: true }],
    ['loud=off', { loud: false }],
  ])('%j has each part, and the default of the others', (text, found) => {
    expect(read(text, '--flag')).toEqual({ total: 9, firstByte: null, ignore: [], loud: false, ...found });
  });

  test.each([
    [
      'frist-byte=2',
      '--flag: there is no part frist-byte',
      /^Did you mean first-byte=…\? Parts are total, first-byte/,
    ],
    ['total=1,total=2', '--flag: total is given twice', null],
    ['1,total=2', '--flag: total is given twice', null],
    ['first-byte=soon', '--flag first-byte: "soon" is', null],
    ['soon', '--flag: "soon" is', null],
    ['1,2', '--flag: "1,2" is', null],
    ['', '--flag: "" is', null],
    ['loud=yes', '--flag loud: "yes" is neither on nor off', null],
  ])('%j is refused with the part', (text, message, hint) => {
    expect(() => read(text, '--flag')).toThrow(message);
    if (hint !== null)
      expect(() => read(text, '--flag')).toThrow(
        expect.objectContaining({ hint: expect.stringMatching(hint) }),
      );
  });
});
