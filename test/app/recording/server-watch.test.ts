import { expect, test } from 'vitest';
import { ServerWatch } from '../../../src/app/recording/server-watch.ts';
import type { Exchange } from '../../../src/core/exchange.ts';
import { SERVER_DETAILS } from '../../../src/core/limits.ts';
import type { ServerDetails } from '../../../src/documents/server-details.ts';
import { DEFAULT_RECORDING_POLICY } from '../../../src/redaction/recording-policy.ts';
import { exchangeOf, requestMessage, responseMessage } from '../../support/exchanges.ts';
import { ManualClock } from '../../support/manual-clock.ts';

function watched() {
  const clock = new ManualClock();
  const seen: ServerDetails[] = [];
  const failures: unknown[] = [];
  const watch = new ServerWatch({
    settings: null,
    policy: DEFAULT_RECORDING_POLICY,
    clock,
    onDetails: (details) => seen.push(details),
    onFailure: (error) => failures.push(error),
  });
  return { clock, watch, seen, failures };
}

const answered = (target: string, route: string, body: string): Exchange =>
  exchangeOf({
    ...{ method: 'GET', route, status: 200 },
    request: requestMessage({ method: 'GET', target }),
    response: responseMessage(200, body),
  });

test('answers to the places that clients ask for are kept, the newest of each', () => {
  const { watch, seen } = watched();
  watch.offer(answered('/version?x=1', 'GET /version', '{"version":"1"}'));
  watch.offer(answered('/version', 'GET /version', '{"version":"2"}'));
  watch.offer(answered('/other', 'GET /other', '{"version":"3"}'));
  expect(seen.map((details) => details['/version'])).toEqual([{ version: ['1'] }, { version: ['2'] }]);
});

test('clients that ask for ever new models cannot make it grow', () => {
  const { watch, seen } = watched();
  for (let at = 0; at < 500; at += 1)
    watch.offer(answered(`/v2/models/m${at}`, 'GET /v2/models/{model}', '{"name":"m"}'));
  expect(Object.keys(seen.at(-1) ?? {})).toHaveLength(SERVER_DETAILS.places);
});

test('an error of its own ends the watch and no recording', () => {
  const { watch, seen, failures } = watched();
  const broken = { ...answered('/version', 'GET /version', '{}'), response: {} } as unknown as Exchange;
  expect(() => watch.offer(broken)).not.toThrow();
  expect(failures).toHaveLength(1);
  watch.offer(answered('/version', 'GET /version', '{"version":"1"}'));
  expect(seen).toEqual([]);
});
