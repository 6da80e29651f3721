import { describe, expect, it } from 'vitest';
import { planDigest } from '../../../src/app/replay/shard.ts';
import { type RawReplayOptions, resolveReplayOptions } from '../../../src/replay/options/replay-options.ts';
import { Scaling } from '../../../src/replay/plan/scaling.ts';
import { chooseWindow } from '../../../src/replay/window/window.ts';
import { COMMAND_LINE_ALONE } from '../../support/option-sources.ts';

const overview = {
  name: '/captures/monday',
  exchanges: 100,
  firstArrivalUs: 1_000_000,
  lastArrivalUs: 100_000_000,
  coverage: 0.9,
  arrivalsOnly: false,
  targets: [],
  sessionKeys: [],
  seconds: () => [],
  hardest: () => expect.unreachable(),
};

function digestOf(raw: RawReplayOptions, identity = 'files', name = overview.name): string {
  const options = resolveReplayOptions(
    { target: 'http://staging', shard: '0/3', ...raw },
    COMMAND_LINE_ALONE,
  );
  const window = chooseWindow(overview, options.window, options.multiplier);
  const scaling = new Scaling(options, overview.coverage);
  return planDigest({ options, overview: { ...overview, name }, window, scaling }, identity);
}

describe('the digest of a plan', () => {
  it.each<[string, RawReplayOptions]>([
    ['the index of the shard', { shard: '2/3' }],
    ['time-outs', { timeout: '5s,drain=1s' }],
    ['the cap on requests in flight', { maxInFlight: '7' }],
    ['what is judged', { slo: ['latency: p(90)<5'] }],
    ['how sure the judgement is', { confidence: '99%' }],
    ['how late sends may be', { lagBound: '9ms' }],
    ['what is printed', { json: true }],
  ])('does not depend on %s', (_, raw) => {
    expect(digestOf(raw)).toBe(digestOf({}));
  });

  it('does not depend on where the capture lies, but on what it holds', () => {
    expect(digestOf({}, 'files', '/mnt/monday')).toBe(digestOf({}));
    expect(digestOf({}, 'other files')).not.toBe(digestOf({}));
  });

  it.each<[string, RawReplayOptions]>([
    ['the number of shards', { shard: '0/4' }],
    ['the target', { target: 'http://other' }],
    ['the multiplier', { multiplier: '2' }],
    ['the scaling', { scaling: 'amplify' }],
    ['stages', { stages: '10s@1x' }],
    ['the share of the target', { targetShare: '1/2' }],
    ['the seed', { seed: '2' }],
    ['the jitter', { scaling: 'jitter=2s' }],
    ['what copies differ in', { scaling: 'perturb=header:x-a' }],
    ['the window', { window: ['1970-01-01T00:00:10Z..'] }],
    ['how often it is played', { loop: '2' }],
    ['filters', { filter: ['method=GET'] }],
    ['the ceiling on the rate', { maxRate: '5' }],
    ['the ceiling on the total', { maxRequests: '5' }],
    ['the start', { shard: 'start=1970-01-01T00:00:10Z' }],
  ])('depends on %s', (_, raw) => {
    expect(digestOf(raw)).not.toBe(digestOf({}));
  });
});
