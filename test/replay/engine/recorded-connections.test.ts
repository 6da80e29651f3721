import { describe, expect, test } from 'vitest';
import { RecordedConnections } from '../../../src/replay/engine/connections.ts';
import { exchangeRow } from '../../support/exchange-row.ts';

const send = (connection: number | null, recorder = 'a', copy = 0) => ({
  row: exchangeRow({ connection, recorder }),
  copy,
  layer: 0,
});

describe('connections as they were recorded', () => {
  test('are counted with their requests, in all and by recorder, copies apart', () => {
    const connections = new RecordedConnections();
    for (const each of [send(1), send(1), send(2), send(1, 'b'), send(1, 'a', 1), send(null)]) {
      connections.add(each);
    }
    expect(connections.figures()).toEqual({
      connections: 4,
      requestsPerConnection: { mean: 5 / 4, max: 2 },
      byRecorder: [
        { recorder: 'a', connections: 3, requests: 4 },
        { recorder: 'b', connections: 1, requests: 1 },
      ],
      unknown: 1,
      forgotten: 0,
    });
  });

  test('are forgotten, longest silent first, and that is counted', () => {
    const connections = new RecordedConnections(2);
    for (const number of [1, 2, 1, 3, 1, 2]) connections.add(send(number));
    expect(connections.figures()).toMatchObject({
      connections: 4,
      requestsPerConnection: { max: 3 },
      forgotten: 2,
    });
  });

  test.each([1, 2, 3, 4, 7, 64])('are told apart where no more than %i of them are', (bound) => {
    const connections = new RecordedConnections(bound);
    for (let turn = 0; turn < 3; turn += 1) {
      for (let number = 0; number < bound; number += 1) connections.add(send(number));
    }
    expect(connections.figures()).toMatchObject({
      connections: bound,
      requestsPerConnection: { mean: 3, max: 3 },
      forgotten: 0,
    });
  });
});
