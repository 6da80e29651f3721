import { describe, expect, it } from 'vitest';
import { resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

describe('options that do not go together', () => {
  it.each([
    ['--shard', { shard: '0/3' }],
    ['--connections recorded', { connections: 'recorded' }],
    ['--shift-time', { shiftTime: ['/at'] }],
  ])('refuses sessions that wait for their answers together with %s', (flag, raw) => {
    const asked = { target: 'http://staging', sessionOrder: 'partly-open', ...raw };
    expect(() => resolveReplayOptions(asked, COMMAND_LINE_ALONE)).toThrow(
      `partly-open cannot be combined with ${flag}`,
    );
    expect(() => resolveReplayOptions({ ...asked, sessionOrder: 'open' }, COMMAND_LINE_ALONE)).not.toThrow();
    expect(() => resolveReplayOptions({ ...asked, sessionOrder: 'closed' }, COMMAND_LINE_ALONE)).toThrow(
      '--session-order',
    );
  });
});
