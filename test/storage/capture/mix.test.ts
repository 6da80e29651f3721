import { expect, test } from 'vitest';
import { segmentsOf } from '../../../src/storage/capture/directory.ts';
import { trafficMix } from '../../../src/storage/capture/mix.ts';
import { captureOf, newCapture } from '../../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US } from '../../support/exchanges.ts';

const HOUR_US = 3_600_000_000;

test('counts by route, model and status, the commonest first', () => {
  const exchanges = Array.from({ length: 100 }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + (at < 40 ? 0 : HOUR_US) + at,
      model: at % 10 === 0 ? null : `model-${at % 2}`,
      status: at === 0 ? null : at < 60 ? 200 : 503,
      answerError: at < 50 ? at < 3 : null,
      traceId: at < 7 ? Buffer.alloc(16, 1) : null,
    }),
  );
  const segments = segmentsOf(captureOf(exchanges)).map((file, at) => ({
    file,
    exchanges: at === 0 ? 40 : 60,
  }));
  expect(segments).toHaveLength(2);
  expect(trafficMix(segments)).toEqual({
    exchanges: 100,
    segments: 2,
    routes: [{ name: 'POST /v2/models/{model}/infer', exchanges: 100 }],
    models: [
      { name: 'model-1', exchanges: 50 },
      { name: 'model-0', exchanges: 40 },
      { name: null, exchanges: 10 },
    ],
    statuses: [
      { name: '200', exchanges: 59 },
      { name: '503', exchanges: 40 },
      { name: null, exchanges: 1 },
    ],
    grpcStatuses: [],
    answerErrors: { answers: 50, told: 3 },
    traced: 7,
    searched: 0,
    linked: 0,
  });
  const sample = trafficMix(segments, 50);
  expect(sample).toMatchObject({ exchanges: 50, routes: [{ exchanges: 50 }] });
});

test('a sample of a large capture leaves out no recorder, though hours times recorders are even', () => {
  const directory = newCapture();
  for (let recorder = 0; recorder < 4; recorder += 1) {
    const exchanges = [0, 1].map((hour) =>
      exchangeOf({ arrivalUs: TEST_EPOCH_US + hour * HOUR_US, model: `recorder-${recorder}` }),
    );
    captureOf(exchanges, { directory, fleetSize: 4 });
  }
  const segments = segmentsOf(directory).map((file) => ({ file, exchanges: 1 }));
  expect(segments).toHaveLength(8);
  const { models, segments: read } = trafficMix(segments, 4, 4);
  expect(read).toBe(4);
  expect(models).toEqual([0, 1, 2, 3].map((at) => ({ name: `recorder-${at}`, exchanges: 1 })));
});

test('a sample is from all of an hour, not from its first seconds', () => {
  const exchanges = Array.from({ length: 400 }, (_, at) =>
    exchangeOf({ arrivalUs: TEST_EPOCH_US + at, model: at < 300 ? 'early' : 'late' }),
  );
  const segments = segmentsOf(captureOf(exchanges)).map((file) => ({ file, exchanges: 400 }));
  expect(trafficMix(segments, 80).models).toEqual([
    { name: 'early', exchanges: 60 },
    { name: 'late', exchanges: 20 },
  ]);
});
