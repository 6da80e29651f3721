import { describe, expect, it } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

const sources = {
  ...COMMAND_LINE_ALONE,
  environment: () => undefined,
  readFile: () => '',
  nowUs: () => 0,
  monitored: new Set<string>(),
};

function problemOf(raw: RawReplayOptions): AppError {
  try {
    resolveReplayOptions({ target: 'http://staging', ...raw }, sources);
  } catch (thrown) {
    if (thrown instanceof AppError) return thrown;
    throw thrown;
  }
  throw new Error('was accepted');
}

describe('a production host', () => {
  it('is taken out of what is pasted', () => {
    const raw = {
      target: 'http://staging',
      productionHost: ['https://Prod.example:8443/v1', '[FD00:0::2]:80', 'http://one.example:/v1', 'fd00::3'],
    };
    expect(resolveReplayOptions(raw, sources).productionHosts).toEqual([
      'prod.example',
      'fd00::2',
      'one.example',
      'fd00::3',
    ]);
  });

  it.each([
    '',
    ' ',
    'a,b',
    '127.0.0.1,10.0.0.1',
    'a;b',
    'a b',
    'http://a/,http://b/',
    '*.0.0.1',
    '*.example',
    'a..',
    'a:b:c',
    'a%b',
    'http:models.example.com',
    'https:models.example.com',
    'http:/models.example.com',
    'http:',
    'models.example.com:80x',
  ])('is not %j, which would fence in nothing', (host) => {
    const { code, message, hint } = problemOf({ productionHost: [host] });
    expect([code, message]).toEqual([
      'OPTION_INVALID',
      `--production-host: ${JSON.stringify(host.trim())} is not a host name`,
    ]);
    expect(hint).toContain('--production-host models.example.com');
    expect(problemOf({ productionHost: [`allow=${host}`] }).message).toContain('--production-host allow');
  });
});
