import { expect, test } from 'vitest';
import { playbackOf } from '../../../src/app/replay/plan.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import type { Filters } from '../../../src/replay/options/window-options.ts';
import { probeCapture, whyNotComparable } from '../../../src/replay/window/probe.ts';
import type { ReplayWindow } from '../../../src/replay/window/window.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { MemoryCapture } from '../../support/memory-capture.ts';

const NO_FILTERS: Filters = {
  methods: [],
  paths: [],
  statuses: [],
  models: [],
  clients: [],
  minRequestBytes: null,
  maxRequestBytes: null,
};
const RANGE = { fromUs: 0, toUs: Number.MAX_SAFE_INTEGER };
const WINDOW = { ...RANGE, parts: [RANGE], loops: 1 } as unknown as ReplayWindow;

function refusalOf(models: readonly string[], filters: Partial<Filters>) {
  const rows = models.map((model, id) => exchangeRow({ id: id + 1, arrivalUs: id, model, status: 200 }));
  const all = { ...NO_FILTERS, ...filters };
  try {
    return probeCapture(playbackOf(new MemoryCapture(rows), WINDOW, all), WINDOW, all);
  } catch (thrown) {
    return thrown;
  }
}

test('filters that leave nothing are answered with what there is of what they asked for', () => {
  expect(refusalOf(['resnet', 'bert'], { models: ['digit'] })).toMatchObject({
    code: 'CAPTURE_EMPTY',
    message: 'No exchange of the window has model digit',
    hint: 'The window has models bert, resnet.',
  });
  const both = refusalOf(['resnet'], { models: ['digit'], statuses: ['404'] });
  expect(both).toMatchObject({ hint: 'The window has statuses 200; models resnet.' });
  const many = refusalOf(
    Array.from({ length: 500 }, (_, at) => `model-${at}`),
    { models: ['digit'] },
  );
  expect((many as { hint: string }).hint.split(',')).toHaveLength(20);
  expect((many as { hint: string }).hint).toContain(' …');
});

test('filters that leave little have no more than a bounded part of the window read before a start', () => {
  const rows = Array.from({ length: 3 * LIMITS.probedExchanges }, (_, at) =>
    exchangeRow({ id: at + 1, arrivalUs: at, model: at % 10_000 === 0 ? 'rare' : 'often' }),
  );
  const parts = [{ fromUs: 0, toUs: rows.length }];
  const window = { ...parts[0], parts, loops: 1 } as unknown as ReplayWindow;
  const filtered = (model: string) => {
    const capture = new MemoryCapture(rows);
    return { capture, playback: playbackOf(capture, window, { ...NO_FILTERS, models: [model] }) };
  };
  const looked = (model: string) => {
    const { capture, playback } = filtered(model);
    return { why: whyNotComparable(playback, parts), rowsRead: capture.rowsRead };
  };
  expect(looked('often').why).toBe('no_recorded_answer');
  // Too few were seen to say that none can be compared.
  const rare = looked('rare');
  expect(rare.why).toBeNull();
  expect(rare.rowsRead).toBeLessThanOrEqual(LIMITS.probedExchanges + 1);
  const { capture, playback } = filtered('rare');
  probeCapture(playback, window);
  expect(capture.rowsRead).toBeLessThanOrEqual(LIMITS.probedExchanges + 1);
});
