import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ratePerReplicaOf } from '../../../src/app/replay/replica-rate.ts';
import { playedAt, searched } from '../../support/searched.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

test('a replica carries what was measured, and never what was forecast', () => {
  const file = join(temporaryDirectory(), 'capacity.json');
  const document = searched([1, 4, 5].map((load) => playedAt(load)));
  writeFileSync(file, JSON.stringify(document));
  expect(ratePerReplicaOf(file)).toBe(80 / 2);
  writeFileSync(file, JSON.stringify({ ...document, forecast: {} }));
  expect(() => ratePerReplicaOf(file)).toThrow('is a forecast');
});
