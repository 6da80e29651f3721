import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it, test } from 'vitest';
import { SeededRandom } from '../../src/core/random.ts';
import { HpackDecoder } from '../../src/http2/hpack.ts';
import { listsThroughNode } from '../support/http2-lists.ts';
import { repeated } from '../support/long-form.ts';
import { missing, sharedData } from '../support/shared-data.ts';

const STORIES = 'hpack-test-case/stories.jsonl.gz';

interface Story {
  readonly story: string;
  readonly cases: readonly {
    readonly wire: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly tableSize?: number;
  }[];
}

describe('header lists that others encoded', () => {
  const path = sharedData(STORIES);
  test.skipIf(path === null)(
    `every story (${path === null ? missing(STORIES) : 'of fifteen encoders'})`,
    () => {
      const lines = gunzipSync(readFileSync(path as string))
        .toString('utf8')
        .trim()
        .split('\n');
      let lists = 0;
      for (const line of lines) {
        const { story, cases } = JSON.parse(line) as Story;
        const decoder = new HpackDecoder();
        for (const [at, { wire, headers, tableSize }] of cases.entries()) {
          if (tableSize !== undefined) decoder.allowTable(tableSize);
          const fields = decoder.decode(Buffer.from(wire, 'hex'));
          const wanted = headers.flat().map((text) => Buffer.from(text, 'utf8').toString('latin1'));
          expect({ story, at, fields }).toEqual({ story, at, fields: wanted });
          lists += 1;
        }
      }
      expect([lines.length, lists]).toEqual([446, 47_142]);
    },
  );

  const requests = repeated(250, 1_250);
  it.each(Array.from({ length: 40 }, (_, at) => at + 1))(
    'those of node:http2, on a connection with tables of changing sizes (seed %i)',
    async (seed) => {
      const { received, decoded } = await listsThroughNode(new SeededRandom(seed), requests);
      expect(received).toHaveLength(2 * requests);
      expect(decoded).toEqual(received);
    },
  );
});
