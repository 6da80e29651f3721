import { describe, expect, it } from 'vitest';
import { formatPlace } from '../../src/core/exchange.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { LinkReader } from '../../src/inference/links/link-reader.ts';
import { DECOYS, issued, type Made, madeCapture } from '../support/linked-sessions.ts';

/** The links of a capture in words: exchange and place of the value, then of its use. */
function linksOf(made: readonly Made[]): string[] {
  const reader = new LinkReader();
  return madeCapture(made).flatMap(([row, payload]) =>
    reader
      .of(row, payload)
      .map(({ from, place, to }) => `${from?.id} ${formatPlace(place)} -> ${row.id} ${formatPlace(to)}`),
  );
}

describe('decoys', () => {
  it.each(Object.keys(DECOYS))('%s: none is a link, and the ids beside them are', (kind) => {
    const random = new SeededRandom(7);
    const decoy = DECOYS[kind]!;
    const made: Made[] = [];
    let expected = 0;
    for (let n = 0; n < 60; n += 1) {
      const memory = new Map<string, string>();
      let last: string | null = null;
      for (let turn = 0; turn < 5; turn += 1) {
        const atMs = 1_794_000_000_000 + n * 700 + turn * 1_000;
        const { asked, askedHeaders = [], told, toldHeaders = [] } = decoy({ n, turn, atMs, random, memory });
        const id = issued(random, 'resp_');
        made.push({
          session: `s${n}`,
          atUs: atMs * 1_000 + n,
          target: '/v1/things',
          asked: { ...asked, ...(last === null ? {} : { previous_response_id: last }) },
          askedHeaders,
          told: { response_id: id, ...told },
          toldHeaders,
        });
        if (last !== null) expected += 1;
        last = id;
      }
    }
    const links = linksOf(made);
    expect(links.filter((link) => !link.endsWith('json /previous_response_id'))).toEqual([]);
    expect(links).toHaveLength(expected);
  });
});
