import { describe, expect, it } from 'vitest';
import { mapPath, parsePathMapping } from '../../../src/replay/request/build.ts';

describe('mapping paths', () => {
  const mappings = ['/v1/models=/v2/models', '/v1=/old', '/api/=/', '/gone='].map((each) =>
    parsePathMapping(each, ''),
  );
  it.each([
    ['/v1/models/m?x=1', '/v2/models/m?x=1'],
    ['/v1/models', '/v2/models'],
    ['/v1/modelsX', '/old/modelsX'],
    ['/v1?q=/v1', '/old?q=/v1'],
    ['/v10/models', '/v10/models'],
    ['/api/v1', '/v1'],
    ['/gone/x', '/x'],
    ['/gone', '/'],
    ['/gone?q', '/?q'],
    ['/else/v1', '/else/v1'],
  ])('sends %s to %s: the first that fits, once, at a boundary of the path', (from, to) => {
    expect(mapPath(from, mappings)).toBe(to);
  });

  it.each(['', '/v1', '=', '=/v2', 'v1=/v2', '/v1=v2', '/v1?x=/v2', '/v 1=/v2', '/a=/b#c'])(
    'refuses %j',
    (text) => {
      expect(() => parsePathMapping(text, '--rewrite path')).toThrow('--rewrite path');
    },
  );
});
