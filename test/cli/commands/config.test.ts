import { expect, test } from 'vitest';
import { shownSetting } from '../../../src/cli/commands/config.ts';

test.each([
  ['header', ['Authorization: Bearer s3cret', 's3cret'], ['Authorization: ***', ': ***']],
  [
    'header',
    ['Authorization: env:TOKEN', 'X-Key:file:/run/key'],
    ['Authorization: env:TOKEN', 'X-Key:file:/run/key'],
  ],
  ['target', 'u:s3cret@model:80', '***@model:80'],
  ['probe-listen', 'u:s3cret@host:1', '***@host:1'],
  ['target', ['http://model:80'], ['http://model:80']],
  ['routes', [{ path: '/a', target: 'http://u:s3cret@a' }], [{ path: '/a', target: 'http://***@a' }]],
  ['on-seal', 'curl -T "$1" https://u:s3cret@store/x', 'curl -T "$1" https://***@store/x'],
  ['dir', 'captures/a@b', 'captures/a@b'],
  ['max-requests', null, null],
  ['warm-connections', 8, 8],
])('a setting is shown without credentials: %s %j', (key, value, shown) => {
  expect(shownSetting(key, value)).toEqual(shown);
});
