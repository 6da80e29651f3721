import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { environmentSource, unknownVariables, variableOf } from '../../../src/cli/config/environment.ts';
import { addOptions, optionsOf, setSources } from '../../../src/cli/options.ts';
import { choice, list, switchOrValue, text, toggle } from '../../../src/core/options.ts';

const OPTIONS = {
  maxDisk: text('--max-disk <size>', 'quota', { default: '10GiB' }),
  skip: list('--skip <rule>', 'left out'),
  form: choice('--form <form>', 'a form', ['pretty', 'json']),
  check: switchOrValue('--check [level]', 'compare', (level) => level, 'structure'),
  json: toggle('--json', 'print JSON'),
};

const NOTHING = { maxDisk: '10GiB', skip: [], form: null, check: null, json: false };

function recordCommand(): Command {
  return addOptions(new Command('record').exitOverride(), OPTIONS);
}

/** What a command ends up with when it runs under these variables. */
function optionsUnder(environment: Record<string, string>, args: readonly string[] = []): object {
  const command = recordCommand();
  setSources(command, [environmentSource(environment)]);
  command.parse(args, { from: 'user' });
  return optionsOf(command, OPTIONS);
}

describe('a variable', () => {
  test('is named after its flag', () => {
    expect(variableOf('--max-disk')).toBe('REPRISE_MAX_DISK');
    expect(variableOf('--json')).toBe('REPRISE_JSON');
  });

  test('gives a flag its value', () => {
    expect(optionsUnder({ REPRISE_MAX_DISK: ' 1GiB\n', REPRISE_JSON: 'true' })).toEqual({
      ...NOTHING,
      maxDisk: '1GiB',
      json: true,
    });
  });

  test('yields to the flag', () => {
    expect(optionsUnder({ REPRISE_MAX_DISK: '1GiB' }, ['--max-disk', '2GiB'])).toMatchObject({
      maxDisk: '2GiB',
    });
    expect(optionsUnder({ REPRISE_SKIP: 'a' }, ['--skip', 'b', '--skip', 'c'])).toMatchObject({
      skip: ['b', 'c'],
    });
  });

  test('of a repeatable flag holds one value a line, and ends as blocks of YAML do', () => {
    expect(optionsUnder({ REPRISE_SKIP: 'health\n  path:/x \n\n' })).toMatchObject({
      skip: ['health', 'path:/x'],
    });
  });

  test('that is empty counts as absent', () => {
    expect(optionsUnder({ REPRISE_MAX_DISK: '', REPRISE_JSON: '' })).toEqual(NOTHING);
  });

  test.each([
    ['true', 'structure'],
    ['exact', 'exact'],
    ['1', '1'],
    ['no', null],
  ])('of a flag whose value may be left out may say %s', (said, check) => {
    expect(optionsUnder({ REPRISE_CHECK: said })).toMatchObject({ check });
  });

  test('that says no leaves its flag off', () => {
    expect(optionsUnder({ REPRISE_JSON: 'false' })).toEqual(NOTHING);
  });

  test('that is neither yes nor no is refused by name', () => {
    expect(() => optionsUnder({ REPRISE_JSON: 'maybe' })).toThrow(
      'REPRISE_JSON: "maybe" is neither true nor false',
    );
  });

  test('whose value its flag refuses is named in the refusal', () => {
    expect(() => optionsUnder({ REPRISE_FORM: 'xml' })).toThrow(
      '--form: "xml" is none of: pretty, json (REPRISE_FORM)',
    );
  });

  test('reaches the commands below a command', () => {
    const parent = new Command('import').addCommand(recordCommand().action(() => undefined));
    setSources(parent, [environmentSource({ REPRISE_MAX_DISK: '3GiB' })]);
    parent.parse(['record'], { from: 'user' });
    const [child] = parent.commands;
    expect(child && optionsOf(child, OPTIONS)).toMatchObject({ maxDisk: '3GiB' });
  });
});

describe('a variable that no flag answers to', () => {
  function unknown(...names: string[]): (string | null)[][] {
    const environment = Object.fromEntries(names.map((name) => [name, 'x']));
    return unknownVariables([recordCommand()], environment).map(({ name, suggestion }) => [name, suggestion]);
  }

  test('is named, with the flag it was probably meant for', () => {
    expect(unknown('REPRISE_MAX_DSK', 'REPRISE_COLOUR_OF_THE_SKY', 'PATH')).toEqual([
      ['REPRISE_COLOUR_OF_THE_SKY', null],
      ['REPRISE_MAX_DSK', 'REPRISE_MAX_DISK'],
    ]);
  });

  test('is fine when it is one of ours', () => {
    expect(unknown('REPRISE_MAX_DISK', 'REPRISE_JSON', 'REPRISE_CHECK', 'REPRISE_DEBUG')).toEqual([]);
  });

  test.each([
    ['REPRISE_PORT'],
    ['REPRISE_SERVICE_HOST'],
    ['REPRISE_SERVICE_PORT'],
    ['REPRISE_SERVICE_PORT_HTTP_METRICS'],
    ['REPRISE_PORT_8080_TCP'],
    ['REPRISE_PORT_8080_TCP_ADDR'],
    ['REPRISE_PORT_8080_TCP_PORT'],
    ['REPRISE_PORT_53_UDP_PROTO'],
    ['REPRISE_RECORDER_SERVICE_HOST'],
    ['REPRISE_RECORDER_PORT_9464_TCP_ADDR'],
  ])('is fine when Kubernetes set it: %s', (name) => {
    expect(unknown(name)).toEqual([]);
  });
});
