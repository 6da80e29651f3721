import { Command, Option } from 'commander';
import { afterEach, describe, expect, test } from 'vitest';
import { bindEnvironment, unknownVariables, variableOf } from '../../src/cli/environment.ts';
import { RepeatableOption } from '../../src/cli/repeatable.ts';

function makeCommand(): Command {
  return new Command('record')
    .version('1.2.3')
    .option('--max-disk <size>', 'quota', '10GiB')
    .option('--slo <expression...>', 'thresholds')
    .addOption(new RepeatableOption('--skip <rule>', 'left out'))
    .option('--json', 'print JSON')
    .option('--no-progress', 'no progress line');
}

/** What a command ends up with when it runs under these variables. */
function optionsUnder(variables: Record<string, string>, args: readonly string[] = []): object {
  Object.assign(process.env, variables);
  const command = makeCommand().exitOverride();
  bindEnvironment(command, process.env);
  command.parse(args, { from: 'user' });
  return command.opts();
}

afterEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('REPRISE_')) delete process.env[name];
});

describe('a variable', () => {
  test('is named after its flag', () => {
    expect(variableOf('--max-disk')).toBe('REPRISE_MAX_DISK');
    expect(variableOf('--json')).toBe('REPRISE_JSON');
    expect(variableOf('--no-progress')).toBe('REPRISE_PROGRESS');
  });

  test('gives a flag its value', () => {
    expect(
      optionsUnder({ REPRISE_MAX_DISK: '1GiB', REPRISE_JSON: 'true', REPRISE_PROGRESS: 'false' }),
    ).toEqual({
      maxDisk: '1GiB',
      json: true,
      progress: false,
    });
  });

  test('yields to the flag', () => {
    expect(optionsUnder({ REPRISE_MAX_DISK: '1GiB' }, ['--max-disk', '2GiB'])).toMatchObject({
      maxDisk: '2GiB',
    });
    expect(optionsUnder({ REPRISE_SLO: 'a' }, ['--slo', 'b', '--slo', 'c'])).toMatchObject({
      slo: ['b', 'c'],
    });
  });

  test('of a repeatable flag holds one value a line, and ends as blocks of YAML do', () => {
    expect(optionsUnder({ REPRISE_SKIP: 'health\n  path:/x \n\n' })).toMatchObject({
      skip: ['health', 'path:/x'],
    });
    expect(optionsUnder({ REPRISE_SKIP: 'health' }, ['--skip', 'none'])).toMatchObject({ skip: ['none'] });
  });

  test('that is empty counts as absent', () => {
    expect(optionsUnder({ REPRISE_MAX_DISK: '', REPRISE_JSON: '' })).toEqual({
      maxDisk: '10GiB',
      progress: true,
    });
  });

  test('that says no leaves its flag off', () => {
    expect(optionsUnder({ REPRISE_JSON: 'false', REPRISE_PROGRESS: 'yes' })).toEqual({
      json: false,
      maxDisk: '10GiB',
      progress: true,
    });
  });

  test('that is neither yes nor no is refused by name', () => {
    expect(() => optionsUnder({ REPRISE_JSON: 'maybe' })).toThrow(
      'REPRISE_JSON: "maybe" is neither true nor false',
    );
  });

  test('whose value its flag refuses is named in the refusal', () => {
    process.env['REPRISE_FORM'] = 'xml';
    const command = new Command('record')
      .addOption(new Option('--form <form>').choices(['pretty', 'json']))
      .exitOverride()
      .configureOutput({ outputError: () => {} });
    bindEnvironment(command, process.env);
    expect(() => command.parse([], { from: 'user' })).toThrow(
      "REPRISE_FORM: option '--form <form>' argument 'xml' is invalid. Allowed choices are pretty, json.",
    );
  });

  test('reaches the commands below a command', () => {
    process.env['REPRISE_MAX_DISK'] = '3GiB';
    const parent = new Command('import').addCommand(
      makeCommand()
        .name('arrivals')
        .action(() => {}),
    );
    bindEnvironment(parent, process.env);
    parent.parse(['arrivals'], { from: 'user' });
    expect(parent.commands[0]?.opts()).toMatchObject({ maxDisk: '3GiB' });
  });

  test('for help or version does not exist', () => {
    expect(optionsUnder({ REPRISE_VERSION: '1', REPRISE_HELP: '1' })).toEqual({
      maxDisk: '10GiB',
      progress: true,
    });
  });
});

describe('a variable that no flag answers to', () => {
  function unknown(...names: string[]): (string | null)[][] {
    const environment = Object.fromEntries(names.map((name) => [name, 'x']));
    return unknownVariables([makeCommand()], environment).map(({ name, suggestion }) => [name, suggestion]);
  }

  test('is named, with the flag it was probably meant for', () => {
    expect(unknown('REPRISE_MAX_DSK', 'REPRISE_COLOUR_OF_THE_SKY', 'PATH')).toEqual([
      ['REPRISE_COLOUR_OF_THE_SKY', null],
      ['REPRISE_MAX_DSK', 'REPRISE_MAX_DISK'],
    ]);
  });

  test('is fine when it is one of ours', () => {
    expect(unknown('REPRISE_MAX_DISK', 'REPRISE_JSON', 'REPRISE_PROGRESS', 'REPRISE_DEBUG')).toEqual([]);
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
