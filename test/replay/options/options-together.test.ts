import { describe, expect, it } from 'vitest';
import { resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

describe('options that do not go together', () => {
  it.each([
    ['--multiplier', { multiplier: 2 }],
    ['--stages', { stages: '1m@1x' }],
    ['--scaling', { scaling: 'amplify' }],
    ['--target-share', { targetShare: '1/2' }],
    ['--scaling', { scaling: 'jitter=5s' }],
    ['--loop', { loop: 2 }],
    ['--shard', { shard: '0/3' }],
    ['--session-order', { sessionOrder: 'partly-open' }],
  ])('refuses a rate together with %s', (flag, raw) => {
    const asked = { target: 'http://staging', rate: '50/s', duration: '1m' };
    expect(() => resolveReplayOptions({ ...asked, ...raw }, COMMAND_LINE_ALONE)).toThrow(
      `--rate cannot be combined with ${flag}`,
    );
    const { rate, scaling } = resolveReplayOptions(asked, COMMAND_LINE_ALONE);
    expect(rate).toEqual({ perSecond: 50, durationNs: 60e9 });
    expect(scaling).toBe('rate');
  });

  it('names a rate and a closed loop once, not one of them twice', () => {
    const asked = { target: 'http://staging', rate: 4, concurrency: 2, duration: '1m' };
    expect(() => resolveReplayOptions(asked, COMMAND_LINE_ALONE)).toThrow(
      expect.objectContaining({ message: '--rate and --concurrency cannot be combined' }),
    );
  });

  it.each([['0'], ['-1'], ['many'], ['1e9']])('refuses the rate %s, and one without an end', (rate) => {
    const asked = { target: 'http://staging', rate };
    expect(() => resolveReplayOptions(asked, COMMAND_LINE_ALONE)).toThrow('--rate');
    expect(() => resolveReplayOptions({ ...asked, rate: 5 }, COMMAND_LINE_ALONE)).toThrow('--duration');
  });

  it.each([
    ['--shard', { shard: '0/3' }],
    ['--connections recorded', { connections: 'recorded' }],
    ['--rewrite time', { rewrite: ['time=/at'] }],
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
